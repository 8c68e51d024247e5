"""One's own data: folders of COCO JSON with ``person_id``, as docs/own_data.md describes them.

    <name>/
        dataset.json     what makes it a data set: {"format": 1, "kind": "frames", "images": "."}
        train.json       one or both; COCO
        test.json        with "query": 1 on the annotations that are searched for

Every folder like this right below the root of the data sets is registered by its name, as
``<name>_train`` and ``<name>_test``. tools/prepare_dataset.py makes them.

``kind`` "frames": pictures with persons. Boxes are kept as annotated; those with ``ignore`` (or
``iscrowd``) become ignore regions. "crops": a picture is one person, and its only annotation says
who. Person ids are whole numbers or texts and count for train.json and test.json each.
"""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.errors import DatasetError
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule, SearchProtocol

from .coco_file import Image, read_images
from .disk import parsing
from .records import Split, make_records, to_polygons, to_xyxy
from .registration import SPLITS, Protocols, check_split, register_split
from .reid import (
    GALLERY,
    QUERY,
    TRAIN,
    Picture,
    make_split,
)

logger = logging.getLogger(__name__)

MARKER = "dataset.json"
"""The file that makes a folder a data set. It is written last: what it stands for is complete."""

FORMAT = 1
"""What the marker says of how the other files are to be read."""

KINDS = ("frames", "crops")

_RULES = {"regular": GalleryRule.OTHER_FRAMES, "multi_view": GalleryRule.OTHER_CAMERAS}


class _Marker(NamedTuple):
    """What dataset.json says: kind, folder of the pictures, names of the protocols."""

    kind: str
    images: Path
    protocols: list[str]


def _read_marker(folder: Path) -> _Marker:
    path = folder / MARKER
    with parsing(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        version, protocols = content["format"], content.get("protocols", ["regular"])
        marker = _Marker(content["kind"], (folder / content["images"]).resolve(), protocols)
        unknown = set(protocols) - set(_RULES)
    if version != FORMAT or marker.kind not in KINDS or unknown:
        raise DatasetError(
            f"{path}: format {version!r}, kind {marker.kind!r}, protocols {protocols}; known are "
            f"format {FORMAT}, the kinds {', '.join(KINDS)} and the protocols {', '.join(_RULES)}"
        )
    return marker


@cache
def _read_frames(folder: str, split: str) -> tuple[list[Image], Split]:
    """What a file says, and the records of it."""
    check_split(split)
    marker = _read_marker(Path(folder))
    path = Path(folder, f"{split}.json")
    images = read_images(path, marker.images)
    if marker.kind == "crops":
        for image in images:
            if len(image.persons) != 1:
                raise DatasetError(f"{path}: {image.path}: a crop has one annotation")
    raw_ids = {p.raw_id for image in images for p in image.persons} - {None}
    names = tuple(sorted(raw_ids, key=lambda raw_id: (isinstance(raw_id, str), raw_id)))
    number = {name: index for index, name in enumerate(names)} | {None: UNLABELED}
    make = _frame_records if marker.kind == "frames" else _crop_records
    return images, Split(make(images, number, marker.images, split), names)


def _frame_records(images: list[Image], number: dict, root: Path, split: str) -> list[dict]:
    persons = [[p for p in image.persons if not p.ignore] for image in images]
    ignored = [[p.xywh for p in image.persons if p.ignore] for image in images]
    return make_records(
        [Path(image.path) for image in images],
        _image_ids(images, root),
        [image.camera for image in images],
        [to_xyxy([p.xywh for p in found]) for found in persons],
        [np.array([number[p.raw_id] for p in found], dtype=np.int64) for found in persons],
        root.name,
        sizes=[(image.height, image.width) for image in images],
        ignore_regions=[to_polygons(to_xyxy(boxes)) for boxes in ignored],
    )


def _crop_records(images: list[Image], number: dict, root: Path, split: str) -> list[dict]:
    pictures = [
        Picture(
            file_name=image.path,
            image_id=image_id,
            raw_id=number[image.persons[0].raw_id],
            camera_id=image.camera,
            role=TRAIN if split == "train" else QUERY if image.persons[0].is_query else GALLERY,
        )
        for image, image_id in zip(images, _image_ids(images, root), strict=True)
    ]
    return make_split(pictures, root.name).records


def _image_ids(images: list[Image], root: Path) -> list[str]:
    """Paths below the folder of the pictures, which no two frames share."""
    return [os.path.relpath(image.path, root).replace(os.sep, "/") for image in images]


@cache
def _load_protocol(folder: str, protocol: str, title: str) -> SearchProtocol:
    images, split = _read_frames(folder, "test")
    rule = _RULES[protocol]
    cameras_of = defaultdict(set)
    for image in images:
        for person in image.persons:
            cameras_of[person.raw_id].add(image.camera)
    queries = [
        (index, person.xywh, person.raw_id)
        for index, image in enumerate(images)
        for person in image.persons
        if person.is_query
        and (rule is not GalleryRule.OTHER_CAMERAS or len(cameras_of[person.raw_id]) > 1)
    ]
    if not queries:
        raise DatasetError(
            f"{Path(folder, 'test.json')} holds no query for the protocol {protocol}: "
            'no annotation with "query": 1, or nobody whom two cameras saw'
        )
    indices, boxes, raw_ids = zip(*queries, strict=True)
    number = {name: index for index, name in enumerate(split.raw_person_ids)}
    return SearchProtocol(
        name=f"{title}, {protocol.replace('_', '-')} gallery",
        query_frames=np.array(indices),
        query_boxes=to_xyxy(boxes),
        query_ids=np.array([number[raw_id] for raw_id in raw_ids]),
        gallery=rule,
    )


def load_protocols(folder: str | Path, title: str) -> Protocols:
    """Those protocols of the test set that ``dataset.json`` names; no other file is read now.

    "regular" (default): all other frames. "multi_view": only frames of other cameras, asking for
    persons whom two cameras saw. Frame indices refer to the records of the
    test split.
    """
    names = _read_marker(Path(folder)).protocols
    return {name: partial(_load_protocol, str(folder), name, title) for name in names}


def load_split(folder: str | Path, split: str) -> Split:
    """Records and identities of a split; DatasetError where something is missing or faulty."""
    return _read_frames(str(folder), split)[1]


def register_coco_style(name: str, folder: str | Path, split: str) -> None:
    """Registers a split of a folder of this kind under ``name``.

    The split has its own person ids, 0 .. n-1 in the order of the raw ids that occur in it, numbers
    before texts; records are in the order of ``<split>.json``, and image_id is the path below the
    folder of pictures. Only ``dataset.json`` is read now. What was read of folders before is
    forgotten: this one may have been written anew.

    Raises:
        DatasetError: it is missing or damaged.
    """
    check_split(split)
    marker = _read_marker(Path(folder))
    _read_frames.cache_clear()
    _load_protocol.cache_clear()

    read = partial(load_split, folder, split)
    if marker.kind == "crops":
        register_split(name, read, dirname=folder, split=split, evaluator_type="reid")
    else:
        protocols = load_protocols(folder, name) if split == "test" else None
        register_split(name, read, dirname=folder, split=split, protocols=protocols)


def find_prepared(root: str | Path) -> Iterator[Path]:
    """The folders right below ``root`` that hold a ``dataset.json``, by name."""
    root = Path(root)
    if root.is_dir():
        yield from (p.parent for p in sorted(root.glob(f"*/{MARKER}")))


def register_prepared(root: str | Path) -> None:
    """Registers every folder of :func:`find_prepared`; those of another root are forgotten.

    A folder that cannot be registered, since it is damaged or its name is taken, is a warning: it
    should not keep anybody from the other data sets.
    """
    for name in DatasetCatalog.list():
        if MetadataCatalog.get(name).get("is_prepared", False):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    for folder in find_prepared(root):
        for split in SPLITS:
            name = f"{folder.name}_{split}"
            if not (folder / f"{split}.json").exists():
                continue
            try:
                if name in DatasetCatalog:
                    raise DatasetError(f"another data set is called {name}: rename {folder}")
                register_coco_style(name, folder, split)
                MetadataCatalog.get(name).set(is_prepared=True)
            except DatasetError as error:
                logger.warning("%s is not registered: %s", name, error)
