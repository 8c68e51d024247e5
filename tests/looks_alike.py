"""Writes small data sets in the file formats of real ones, so that the real readers read them.

Pictures are (H, W, 3) uint8 RGB arrays, from Street or noise.
"""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import DatasetCatalog
from PIL import Image
from scipy.io import savemat

from person_search.data.crop_cache import cut_out
from person_search.data.crops import crop_records
from person_search.images import read_image
from person_search.street.formats import market1501_name, write_odgt


class Shot(NamedTuple):
    """A picture of a person."""

    person: int
    camera: int
    image: np.ndarray


class Scene(NamedTuple):
    """A frame, its persons' (N, 4) xyxy boxes and (N,) identities, negative for unknown ones."""

    name: str
    image: np.ndarray
    boxes: np.ndarray
    persons: np.ndarray


def street_scenes(name: str = "street_tiny_train") -> list[Scene]:
    """The frames of a registered data set."""
    return [
        Scene(
            record["image_id"],
            read_image(record["file_name"], "RGB"),
            np.array([a["bbox"] for a in record["annotations"]]).reshape(-1, 4),
            np.array([a["person_id"] for a in record["annotations"]], dtype=int),
        )
        for record in DatasetCatalog.get(name)
    ]


def to_xywh(boxes: np.ndarray) -> list[list[float]]:
    """(N, 4) xyxy boxes as lists x, y, w, h."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def street_shots(name: str = "street_tiny_train", size: tuple[int, int] = (48, 24)) -> list[Shot]:
    """Everybody with an identity in a registered data set of frames, cut out."""
    return [
        Shot(
            c["person_id"],
            c["camera_id"],
            cut_out(read_image(c["file_name"], "RGB"), c["bbox"], size),
        )
        for c in crop_records(DatasetCatalog.get(name))
    ]


def noise(seed: int = 0, size: tuple[int, int] = (8, 4)) -> np.ndarray:
    """A picture that no other seed has."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


GREY = np.full((48, 64, 3), 128, np.uint8)
"""The frame of data sets of which no pictures are given."""

NO_PICTURES: Mapping[str, np.ndarray] = {}


def save(path: Path, image: np.ndarray) -> None:
    """Writes a picture, as it is where the format allows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(image).save(path, **options)


# Re-identification ----------------------------------------------------------------------------


def write_market1501(
    root: Path, folders: Mapping[str, Sequence[Shot]], suffix: str = ".jpg"
) -> Path:
    """``folders``: of "bounding_box_train", "query", "bounding_box_test"."""
    for folder, shots in folders.items():
        (root / folder).mkdir(parents=True)
        for number, (person, camera, image) in enumerate(shots):
            save(root / folder / (market1501_name(person, camera, number, 0) + suffix), image)
    return root


def msmt17_name(person: int, number: int, camera: int) -> str:
    """The path of a picture as the lists have it."""
    return f"{person:04d}/{person:04d}_{number:03d}_{camera:02d}_0303morning_0008_0.jpg"


def write_msmt17(root: Path, lists: Mapping[str, Sequence[Shot]], version: int = 1) -> Path:
    """``lists``: of "train", "val", "query", "gallery"."""
    for name, shots in lists.items():
        split = "train" if name in ("train", "val") else "test"
        folder = root / (split if version == 1 else f"mask_{split}_v2")
        lines = []
        for number, (person, camera, image) in enumerate(shots):
            # A number of its own in each list: two lists share a folder.
            path = msmt17_name(person, 100 * (name in ("val", "gallery")) + number, camera)
            save(folder / path, image)
            lines.append(f"{path} {person}\n")
        (root / f"list_{name}.txt").write_text("".join(lines))
    return root


def write_cuhk03_release(
    path: Path, pictures: Mapping[tuple[int, int, int], np.ndarray], variable: str = "labeled"
) -> None:
    """``pictures`` by pair of cameras, person and column, all from 0; other cells stay empty."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a", userblock_size=512) as file:
        kept = file.require_group("#refs#")

        def keep(name: str, data: np.ndarray):
            return kept.create_dataset(f"{variable}_{name}", data=data).ref

        nothing = keep("empty", np.zeros(2, np.uint64))
        cells = np.empty((1, 5), dtype=h5py.ref_dtype)
        for pair in range(5):
            people = 1 + max((p for k, p, _ in pictures if k == pair), default=0)
            matrix = np.full((10, people), nothing, dtype=h5py.ref_dtype)
            for (k, person, column), image in pictures.items():
                if k == pair:
                    matrix[column, person] = keep(f"{pair}_{person}_{column}", image.T)
            cells[0, pair] = keep(f"pair{pair}", matrix)
        file.create_dataset(variable, data=cells)


def write_cuhk03_protocol(
    path: Path, names: Sequence[str], labels: Sequence[int], indices: Mapping[str, Sequence[int]]
) -> None:
    """``indices``: of "train", "query", "gallery", from 1; cameras are part of the names."""
    column = {"dtype": object}
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(
        path,
        {
            "filelist": np.array([*names, None], **column)[:-1].reshape(-1, 1),
            "labels": np.array(labels, np.uint16).reshape(-1, 1),
            "camId": np.array([int(name[6]) for name in names], np.uint8).reshape(-1, 1),
        }
        | {f"{k}_idx": np.array(v, np.uint16).reshape(-1, 1) for k, v in indices.items()},
    )


def write_luperson_lmdb(
    folder: Path, pictures: Mapping[str, bytes], keys: list | dict | None = None
) -> Path:
    """``pictures``: encoded, by key. ``keys``: what keys.pkl holds; None: a list of all keys."""
    import lmdb

    (folder / "lmdb").mkdir(parents=True)
    with lmdb.open(str(folder / "lmdb"), map_size=2**24) as environment:
        with environment.begin(write=True) as transaction:
            for key, value in pictures.items():
                transaction.put(key.encode(), value)
    (folder / "keys.pkl").write_bytes(pickle.dumps(list(pictures) if keys is None else keys))
    return folder


# Frames -----------------------------------------------------------------------------------------


def crowdhuman_row(fbox, vbox=None, tag: str = "person", extra: dict | None = None) -> dict:
    """One entry of "gtboxes"; boxes x, y, w, h."""
    row = {"tag": tag, "hbox": [*fbox[:2], 3, 3], "vbox": vbox or fbox, "fbox": fbox}
    return row | {"head_attr": {}} | ({} if extra is None else {"extra": extra})


def write_crowdhuman(
    root: Path,
    split: str,
    frames: Mapping[str, Sequence[dict]],
    images: str = "Images",
    pictures: Mapping[str, np.ndarray] = NO_PICTURES,
) -> Path:
    """``frames``: rows of "gtboxes" by id of the frame; ``pictures`` likewise."""
    for name in frames:
        save(root / images / f"{name}.jpg", pictures.get(name, GREY))
    write_odgt(root, split, frames)
    return root


def eurocity_object(identity: str | None, box, tags=(), children=()) -> dict:
    """One object; ``box`` is xyxy."""
    corners = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
    return {"identity": identity, **corners, "tags": list(tags), "children": list(children)}


def write_eurocity(
    root: Path,
    split: str,
    frames: Mapping[str, Sequence[dict]],
    time: str = "day",
    pictures: Mapping[str, np.ndarray] = NO_PICTURES,
) -> Path:
    """``frames``: objects by "<city>/<name>"; ``pictures`` likewise."""
    for name, objects in frames.items():
        picture = pictures.get(name, GREY)
        save(root / time / "img" / split / f"{name}.png", picture)
        label = root / time / "labels" / split / f"{name}.json"
        label.parent.mkdir(parents=True, exist_ok=True)
        height, width = picture.shape[:2]
        content = {"imagewidth": width, "imageheight": height, "identity": "frame", "tags": []}
        label.write_text(json.dumps(content | {"children": list(objects)}))
    return root


def write_mot17det(
    root: Path, sequences: Mapping[str, Mapping[int, Sequence[str]]], pictures=NO_PICTURES
) -> Path:
    """``sequences``: by name, rows after the frame number by number of the frame."""
    for name, frames in sequences.items():
        folder = root / "train" / name
        lines = [f"{number},{row}\n" for number, rows in frames.items() for row in rows]
        (folder / "gt").mkdir(parents=True)
        (folder / "gt" / "gt.txt").write_text("".join(lines))
        for number in frames:
            save(folder / "img1" / f"{number:06}.jpg", pictures.get((name, number), GREY))
    return root


def write_wider(
    root: Path, lines: Mapping[str, Mapping[str, Sequence]], folder: str = "ad_train"
) -> Path:
    """``lines``: file -> picture -> numbers of its line."""
    root.mkdir(parents=True, exist_ok=True)
    for file, pictures in lines.items():
        rows = (" ".join(map(str, [name, *numbers])) for name, numbers in pictures.items())
        (root / file).write_text("\n".join(rows) + "\n")
        for name in pictures:
            save(root / folder / name, GREY)
    return root


def write_posetrack21(
    root: Path,
    files: Mapping[str, tuple[Sequence[dict], Sequence[dict]]],
    annotations: str = "posetrack_person_search",
    pictures: Mapping[str, np.ndarray] = NO_PICTURES,
) -> Path:
    """``files``: of "train", "val", "query": the lists "images" and "annotations".

    ``pictures`` by the images' "file_name".
    """
    (root / annotations).mkdir(parents=True)
    for name, (images, boxes) in files.items():
        content = {"images": list(images), "annotations": list(boxes), "categories": []}
        (root / annotations / f"{name}.json").write_text(json.dumps(content))
        for image in images:
            if not (root / image["file_name"]).exists():
                save(root / image["file_name"], pictures.get(image["file_name"], GREY))
    return root


# ------------------------------------------------------------------------------ one's own data


def coco_image(number: int, name: str | None = None, **more) -> dict:
    """An image of a COCO file, as big as :data:`GREY`."""
    return {"id": number, "file_name": name or f"{number}.png", "width": 64, "height": 48, **more}


def coco_box(number: int, image: int, person=None, xywh=(4, 4, 10, 20), **more) -> dict:
    """An annotation of a COCO file."""
    return {"id": number, "image_id": image, "bbox": list(xywh), "person_id": person, **more}


def write_coco(
    path: Path, images: Sequence[dict], boxes: Sequence[dict], pictures: bool = True, **lists
) -> Path:
    """A COCO file with one element a line, and gray pictures beside it; returns the file."""
    lists = {"images": images, "annotations": boxes, **lists}
    parts = [f'"{k}": [\n' + ",\n".join(map(json.dumps, v)) + "\n]" for k, v in lists.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{" + ",\n".join(parts) + "}")
    for image in images if pictures else ():
        save(path.parent / image["file_name"], GREY)
    return path
