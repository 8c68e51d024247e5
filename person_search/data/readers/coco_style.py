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
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.data.readers.common import (
    SPLITS,
    Protocols,
    Split,
    check_split,
    listed,
    make_records,
    parsing,
    register_split,
    to_polygons,
    to_xyxy,
)
from person_search.data.readers.reid import (
    GALLERY,
    QUERY,
    TRAIN,
    Picture,
    make_split,
    register_reid,
)
from person_search.errors import DatasetError
from person_search.importing.annotated import Box, Frame
from person_search.importing.checks import check_frames
from person_search.importing.coco import read_coco
from person_search.importing.writing import FORMAT, KINDS, MARKER
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule, SearchProtocol

logger = logging.getLogger(__name__)

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
def _read_frames(folder: str, split: str) -> tuple[list[Frame], Split]:
    """What a file says, and the records of it."""
    check_split(split)
    marker = _read_marker(Path(folder))
    path = Path(folder, f"{split}.json")
    faults = []
    frames = check_frames(read_coco(path, faults, marker.images), faults, pictures=None)
    if not faults:
        faults += [f"{f.place}: no width and height" for f in frames if f.size is None]
    if marker.kind == "crops" and not faults:
        faults += [f"{f.place}: a crop has one annotation" for f in frames if len(f.boxes) != 1]
    if faults:
        raise DatasetError(
            f"{path} has {len(faults)} faults: {listed([str(f) for f in faults], 3)}. "
            "tools/prepare_dataset.py --from coco lists all"
        )
    raw_ids = {_person_of(b) for b in chain.from_iterable(f.boxes for f in frames)} - {None}
    names = tuple(sorted(raw_ids, key=lambda raw_id: (isinstance(raw_id, str), raw_id)))
    number = {name: index for index, name in enumerate(names)} | {None: UNLABELED}
    make = _frame_records if marker.kind == "frames" else _crop_records
    return frames, Split(make(frames, number, marker.images, split), names)


def _person_of(box: Box) -> int | str | None:
    return None if box.ignore else box.person_id


def _camera_of(frame: Frame) -> int:
    return -1 if frame.camera is None else frame.camera


def _frame_records(frames: list[Frame], number: dict, images: Path, split: str) -> list[dict]:
    persons = [[b for b in f.boxes if not b.ignore] for f in frames]
    ignored = [[b.xywh for b in f.boxes if b.ignore] for f in frames]
    return make_records(
        [Path(f.path) for f in frames],
        _image_ids(frames, images),
        [_camera_of(f) for f in frames],
        [to_xyxy([b.xywh for b in boxes]) for boxes in persons],
        [np.array([number[b.person_id] for b in boxes], dtype=np.int64) for boxes in persons],
        images.name,
        sizes=[f.size for f in frames],
        ignore_regions=[to_polygons(to_xyxy(boxes)) for boxes in ignored],
    )


def _crop_records(frames: list[Frame], number: dict, images: Path, split: str) -> list[dict]:
    pictures = [
        Picture(
            file_name=frame.path,
            image_id=image_id,
            raw_id=number[_person_of(frame.boxes[0])],
            camera_id=_camera_of(frame),
            role=TRAIN if split == "train" else QUERY if frame.boxes[0].is_query else GALLERY,
        )
        for frame, image_id in zip(frames, _image_ids(frames, images), strict=True)
    ]
    return make_split(pictures, images.name).records


def _image_ids(frames: list[Frame], images: Path) -> list[str]:
    """Paths below the folder of the pictures, which no two frames share."""
    return [os.path.relpath(f.path, images).replace(os.sep, "/") for f in frames]


def load_coco_style(folder: str | Path, split: str) -> list[dict]:
    """Frames as detectron2 standard dicts, or crop records, in the order of ``<split>.json``.

    Args:
        folder: of the data set, with its ``dataset.json``.
        split: "train" or "test". Each has its own person ids, 0 .. n-1 in the order of the raw ids
            that occur in it, numbers before texts.

    Returns:
        Of frames: file_name, image_id (the path below the folder of pictures), height, width,
        camera_id (-1: unknown), domain, annotations (bbox float xyxy as annotated, person_id) and
        ignore_regions. Of crops: see :mod:`.reid`.

    Raises:
        DatasetError: a file is missing or has faults, which the message names with their lines.
    """
    return [dict(record) for record in _read_frames(str(folder), split)[1].records]


@cache
def _load_protocol(folder: str, protocol: str, title: str) -> SearchProtocol:
    frames, split = _read_frames(folder, "test")
    rule = _RULES[protocol]
    cameras_of = defaultdict(set)
    for frame in frames:
        for box in frame.boxes:
            cameras_of[_person_of(box)].add(_camera_of(frame))
    queries = [
        (index, box.xywh, box.person_id)
        for index, frame in enumerate(frames)
        for box in frame.boxes
        if box.is_query
        and (rule is not GalleryRule.OTHER_CAMERAS or len(cameras_of[box.person_id]) > 1)
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


def load_coco_style_protocols(folder: str | Path, title: str) -> Protocols:
    """Those protocols of the test set that ``dataset.json`` names; no other file is read now.

    "regular" (default): all other frames. "multi_view": only frames of other cameras, asking for
    persons whom two cameras saw. Frame indices refer to ``load_coco_style(folder, "test")``.
    """
    names = _read_marker(Path(folder)).protocols
    return {name: partial(_load_protocol, str(folder), name, title) for name in names}


def register_coco_style(name: str, folder: str | Path, split: str) -> None:
    """Registers a folder of this kind under ``name``; see ``load_coco_style``.

    Of the folder, only ``dataset.json`` is read now. What was read of folders before is forgotten:
    this one may have been written anew.

    Raises:
        DatasetError: it is missing or damaged.
    """
    check_split(split)
    marker = _read_marker(Path(folder))
    _read_frames.cache_clear()
    _load_protocol.cache_clear()

    def read() -> Split:
        return _read_frames(str(folder), split)[1]

    if marker.kind == "crops":
        register_reid(name, read, root=folder, split=split)
    else:
        protocols = load_coco_style_protocols(folder, name) if split == "test" else None
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
