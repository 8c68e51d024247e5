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

from person_search.errors import DatasetError
from person_search.protocols import GalleryRule, SearchProtocol

from .disk import listed, parsing, require_files
from .records import Split, check_finite, check_ids, has_area, make_records, number_persons, to_xyxy
from .registration import Copy, Protocols, Reader

logger = logging.getLogger(__name__)

_TREE = """\
    PoseTrack21/ (or posetrack21/)
        images/train/  images/val/     <sequence>/000000.jpg ...
        posetrack_person_search/       train.json  val.json  query.json
        (or annotations/posetrack_person_search/)"""

_PLACES = ("posetrack_person_search", "annotations/posetrack_person_search")
"""Of the annotations; releases differ."""

_FILES = {"train": "train.json", "test": "val.json"}


def _annotations_of(folder: Path) -> Path:
    found = [folder / place for place in _PLACES if (folder / place).is_dir()]
    if not found:
        raise DatasetError(f"{folder} holds no {_PLACES[0]}/. Expected\n{_TREE}")
    return found[0]


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
            if raw_id is not None and not (type(raw_id) in (int, float) and len(item["bbox"]) == 4):
                raise ValueError(f"person_id {raw_id!r} or bbox of the frame {item['image_id']}")
            rows[item["image_id"]].append([-1 if raw_id is None else raw_id, *item["bbox"]])
        tables = [np.array(r, dtype=np.float64).reshape(len(r), 5) for r in rows.values()]
        for key, table in zip(rows, tables, strict=True):
            check_finite(table[:, 1:], f"{path}, image {key}, box")
            check_ids(table[:, 0], f"{path}, image {key}, box")
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


def _read(folder: Path, split: str) -> Split:
    path = _annotations_of(folder) / _FILES[split]
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


@cache
def _load_protocol(copy: Copy, title: str) -> SearchProtocol:
    records, persons = copy.load("test")
    folder = copy.folder("test")
    path = _annotations_of(folder) / "query.json"
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


def _protocols(copy: Copy, title: str) -> Protocols:
    """ "regular": all other frames. Frame indices refer to the records of the test split."""
    return {"regular": partial(_load_protocol, copy, title)}


POSETRACK21 = Reader(
    title="PoseTrack21",
    folders=("PoseTrack21", "posetrack21"),
    markers=_PLACES,
    tree=_TREE,
    read=_read,
    protocols_of=_protocols,
    counts={
        "posetrack21_train": {"frames": 42861},
        "posetrack21_test": {"persons": 1656, "queried persons": 1313},
    },
)
"""Frames in the order of the annotation file; image_id is "val/<sequence>/000000"."""
