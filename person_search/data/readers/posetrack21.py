"""PoseTrack21 (Doering et al., CVPR 2022), its person search part: sports and street videos.

Complete: 42,861 training frames; 1,313 persons are queried among 1,656 test persons.

The test frames are those of "val". A query is one annotated box; its gallery are all other test
frames, those of its own video included (the authors published no evaluator; this is the rule of
the public implementation). There are no cameras. Training and test persons are numbered apart.

Boxes are kept as annotated; those without area are dropped.

Shape shorthand in this module:
    N: number of boxes of one frame
"""

import json
import logging
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from person_search.data.readers.common import (
    Protocols,
    Split,
    check_split,
    find_root,
    has_area,
    listed,
    make_records,
    number_persons,
    parsing,
    register_split,
    require_files,
    to_xyxy,
)
from person_search.errors import DatasetError
from person_search.protocols import GalleryRule, SearchProtocol

logger = logging.getLogger(__name__)

FOLDERS = ("PoseTrack21", "posetrack21")

TREE = """\
    PoseTrack21/ (or posetrack21/)
        images/train/  images/val/     <sequence>/000000.jpg ...
        posetrack_person_search/       train.json  val.json  query.json
        (or annotations/posetrack_person_search/)"""

_ANNOTATIONS = "posetrack_person_search"

_FILES = {"train": "train.json", "test": "val.json"}


def _find_folders(root: str) -> tuple[Path, Path]:
    """The folder of the data set, and that of its annotations."""
    below = Path("annotations", _ANNOTATIONS)
    marker = below if (Path(root) / below).is_dir() else Path(_ANNOTATIONS)
    folder = find_root(root, marker, FOLDERS, TREE)
    found = [folder / p for p in (_ANNOTATIONS, below) if (folder / p).is_dir()]
    if not found:
        raise DatasetError(f"{folder} holds no {_ANNOTATIONS}/. Expected\n{TREE}")
    return folder, found[0]


class _Annotated(NamedTuple):
    """What a file says about its frames, in its order.

    Attributes:
        names: files of the frames, relative to the folder of the data set.
        boxes, raw_ids: (N, 4) xyxy and (N,) per frame; raw id -1: nobody in particular.
        ignore_regions: polygons x, y, x, y, ... per frame.
    """

    names: list[str]
    boxes: list[np.ndarray]
    raw_ids: list[np.ndarray]
    ignore_regions: list[list[list[float]]]


def _read_annotations(path: Path) -> _Annotated:
    """Reads a file.

    Only a frame's name and number are sure to be there, and a box's own four numbers, frame and
    person.
    """
    with parsing(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [image["file_name"] for image in content["images"]]
        ignore_regions = [_ignore_regions(image) for image in content["images"]]
        rows = {image["id"]: [] for image in content["images"]}
        for item in content["annotations"]:
            raw_id = item["person_id"]
            rows[item["image_id"]].append([-1 if raw_id is None else raw_id, *item["bbox"]])
        tables = [np.array(r, dtype=np.float64).reshape(len(r), 5) for r in rows.values()]
    if not names:
        raise DatasetError(f"{path} names no frame")
    if len(tables) < len(names):
        raise DatasetError(f"{path} numbers two frames alike; fetch this file again")
    boxes = [to_xyxy(table[:, 1:]) for table in tables]
    kept = [has_area(frame) for frame in boxes]
    if num_dropped := sum(int((~k).sum()) for k in kept):
        logger.info("Dropped %d boxes without area of %s", num_dropped, path)
    return _Annotated(
        names,
        [frame[k] for frame, k in zip(boxes, kept, strict=True)],
        [table[k, 0] for table, k in zip(tables, kept, strict=True)],
        ignore_regions,
    )


def _ignore_regions(image: dict) -> list[list[float]]:
    """Polygons, which the file keeps as lists of x and lists of y."""
    columns = (image.get(f"ignore_regions_{axis}") or [] for axis in "xy")
    polygons = [np.array(pair, dtype=np.float64) for pair in zip(*columns, strict=True)]
    return [polygon.T.ravel().tolist() for polygon in polygons]


@cache
def _read_posetrack21(root: str, split: str) -> Split:
    check_split(split)
    folder, annotations = _find_folders(root)
    path = annotations / _FILES[split]
    found = _read_annotations(path)
    paths = require_files(folder, found.names)
    person_ids, raw_ids = number_persons(found.raw_ids)
    if not raw_ids:
        raise DatasetError(f"No box of {path} carries a person id")
    records = make_records(
        paths,
        [name.removeprefix("images/").rpartition(".")[0] for name in found.names],
        [-1] * len(paths),
        found.boxes,
        person_ids,
        "PoseTrack21",
        ignore_regions=found.ignore_regions,
    )
    return Split(records, raw_ids)


def load_posetrack21(root: str | Path, split: str) -> list[dict]:
    """Frames of PoseTrack21 as detectron2 standard dicts, in the order of the annotation file.

    Args:
        root: the folder of PoseTrack21, or the folder that holds it as one of ``FOLDERS``.
        split: "train" or "test" (val.json). Each has its own person ids, 0 .. n-1 in the order of
            the raw ids that occur in it.

    Returns:
        Dicts with file_name, image_id ("val/<sequence>/000000"), height, width, camera_id (-1),
        domain, annotations (bbox float xyxy as annotated, person_id) and ignore_regions (polygons).

    Raises:
        DatasetError: something is missing or damaged.
    """
    return [dict(record) for record in _read_posetrack21(str(root), split).records]


@cache
def _load_protocol(root: str, title: str) -> SearchProtocol:
    records, persons = _read_posetrack21(root, "test")
    folder, annotations = _find_folders(root)
    path = annotations / "query.json"
    found = _read_annotations(path)
    raw_ids = np.concatenate(found.raw_ids)
    if not len(raw_ids):
        raise DatasetError(f"{path} names no query")
    frame_index = {record["file_name"]: index for index, record in enumerate(records)}
    files = np.repeat(found.names, [len(frame) for frame in found.boxes]).tolist()
    if unknown := [name for name in files if str(folder / name) not in frame_index]:
        raise DatasetError(f"{path} asks in frames that val.json lacks: {listed(unknown)}")
    if (unknown := np.setdiff1d(raw_ids, persons)).size:
        raw_ids = listed([f"{raw_id:g}" for raw_id in unknown])
        raise DatasetError(f"{path} asks for persons that val.json lacks: {raw_ids}")
    return SearchProtocol(
        name=f"{title}, all other frames",
        query_frames=np.array([frame_index[str(folder / name)] for name in files]),
        query_boxes=np.concatenate(found.boxes),
        query_ids=np.searchsorted(persons, raw_ids),
        gallery=GalleryRule.OTHER_FRAMES,
    )


def load_posetrack21_protocols(root: str | Path, title: str = "PoseTrack21") -> Protocols:
    """The protocol of the test set; nothing is read before it is called.

    "regular": all other frames. Frame indices refer to ``load_posetrack21(root, "test")``.
    """
    return {"regular": partial(_load_protocol, str(root), title)}


def register_posetrack21(name: str, root: str | Path, split: str) -> None:
    """Registers a copy of PoseTrack21 under ``name``; see ``load_posetrack21``."""
    check_split(split)
    register_split(
        name,
        partial(_read_posetrack21, str(root), split),
        dirname=root,
        split=split,
        protocols=load_posetrack21_protocols(root, name) if split == "test" else None,
    )
