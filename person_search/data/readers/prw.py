"""PRW, Person Re-identification in the Wild (Zheng et al., CVPR 2017).

Complete: 11,816 frames of 6 cameras with 43,110 boxes, of which 34,034 carry an identity.
    train: 5,704 frames, 18,048 boxes, 14,907 labeled, 483 persons
    test: 6,112 frames, 25,062 boxes, 19,127 labeled, 544 persons (94 of them seen in train,
    never queried), 2,057 queries of 450 persons

Boxes are kept as annotated: floats, not clipped (a few reach some pixels out of the frame).

Shape shorthand in this module:
    N: number of boxes of one frame
    Q: number of queries
"""

import logging
import re
from functools import cache, partial
from pathlib import Path

import numpy as np

from person_search.errors import DatasetError
from person_search.protocols import GalleryRule, SearchProtocol

from .disk import parsing, require_files
from .matlab import load_mat, unpack_strings
from .records import Split, check_boxes, check_ids, make_records, number_persons, to_xyxy
from .registration import Copy, Protocols, Reader

logger = logging.getLogger(__name__)

_TREE = """\
    PRW-v16.04.20/ (or PRW/)
        frames/            c1s1_000151.jpg ...
        annotations/       c1s1_000151.jpg.mat ...
        frame_train.mat  frame_test.mat  query_info.txt"""

_GALLERIES = {
    "regular": GalleryRule.OTHER_FRAMES,
    "multi_view": GalleryRule.OTHER_CAMERAS,
}


def _camera(frame: str) -> int:
    match = re.match(r"c(\d)", frame)
    return int(match[1]) if match else -1


def _read_rows(path: Path) -> np.ndarray:
    """(N, 5) float64 rows id, x, y, w, h of one frame; id -2 is a person without identity."""
    rows = load_mat(path, "box_new", "anno_file", "anno_previous")
    with parsing(path):
        rows = rows.astype(np.float64).reshape(-1, 5)
    check_boxes(rows[:, 1:], f"{path}, row")
    check_ids(rows[:, 0], f"{path}, row")
    return rows


def _read(folder: Path, split: str) -> Split:
    frame_list = folder / f"frame_{split}.mat"
    cells = load_mat(frame_list, f"img_index_{split}")
    with parsing(frame_list):
        names = unpack_strings(cells)
    if not names:
        raise DatasetError(f"{frame_list} lists no frame")
    paths = require_files(folder / "frames", [f"{name}.jpg" for name in names])
    annotations = require_files(folder / "annotations", [f"{name}.jpg.mat" for name in names])
    rows = [_read_rows(path) for path in annotations]

    person_ids, raw_ids = number_persons([frame[:, 0] for frame in rows])
    if not raw_ids:
        raise DatasetError(f"No box of the {split} frames in {folder} carries a person id")
    boxes = [to_xyxy(frame[:, 1:]) for frame in rows]
    cameras = [_camera(name) for name in names]
    records = make_records(paths, names, cameras, boxes, person_ids, "PRW")
    return Split(records, raw_ids)


def _read_queries(path: Path) -> tuple[np.ndarray, list[str]]:
    """(Q, 5) float64 rows id, x, y, w, h of query_info.txt, and the Q frame names."""
    with parsing(path):
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    rows, frames = [], []
    for number, fields in enumerate(lines, start=1):
        if not fields:
            continue
        try:
            *numbers, frame = fields
            person_id, x, y, width, height = map(float, numbers)
        except ValueError as error:
            raise DatasetError(
                f"{path}, line {number}: expected 'id x y w h frame', found {' '.join(fields)!r}"
            ) from error
        rows.append((person_id, x, y, width, height))
        frames.append(frame)
    if not rows:
        raise DatasetError(f"{path} lists no query")
    rows = np.array(rows)
    check_boxes(rows[:, 1:], f"{path}, query")
    return rows, frames


@cache  # evaluator and loader both ask, and a large gallery file takes a minute
def _load_protocol(copy: Copy, protocol: str, title: str) -> SearchProtocol:
    records, raw_ids = copy.load("test")
    path = copy.folder("test") / "query_info.txt"
    rows, frames = _read_queries(path)
    boxes = to_xyxy(rows[:, 1:])
    frame_index = {record["image_id"]: index for index, record in enumerate(records)}
    person_index = {raw_id: index for index, raw_id in enumerate(raw_ids)}
    query_frames, query_ids = [], []
    displaced = 0
    for raw_id, box, frame in zip(rows[:, 0], boxes, frames, strict=True):
        index = frame_index.get(frame)
        person_id = person_index.get(raw_id)
        persons = [] if index is None else records[index]["annotations"]
        truth = [person["bbox"] for person in persons if person["person_id"] == person_id]
        if not truth:
            raise DatasetError(
                f"{path} asks for person {raw_id:g} in frame {frame}, but no test frame of that "
                "name holds that person"
            )
        # Query files repeat the annotated box, some of them rounded: more than 1 px is an oddity.
        displaced += np.abs(np.array(truth) - box).max(axis=1).min() > 1
        query_frames.append(index)
        query_ids.append(person_id)
    if displaced:
        logger.warning(
            "%d of %d query boxes of %s are more than 1 px from the person's annotated box",
            displaced, len(rows), path,
        )  # fmt: skip
    return SearchProtocol(
        name=f"{title}, {protocol.replace('_', '-')} gallery",
        query_frames=np.array(query_frames),
        query_boxes=boxes,
        query_ids=np.array(query_ids),
        gallery=_GALLERIES[protocol],
    )


def _protocols(copy: Copy, title: str) -> Protocols:
    """ "regular" (default): all other frames, what papers print. "multi_view": only frames of other
    cameras, harder. Frame indices refer to the records of the test split.
    """
    return {name: partial(_load_protocol, copy, name, title) for name in _GALLERIES}


def _per_sequence(text: str) -> dict[str, int]:
    fields = text.split()
    return {f"frames {name}": int(n) for name, n in zip(fields[::2], fields[1::2], strict=True)}


PRW = Reader(
    title="PRW",
    folders=("PRW-v16.04.20", "PRW"),
    markers=("frame_{split}.mat",),
    tree=_TREE,
    read=_read,
    protocols_of=_protocols,
    counts={
        "prw_train": {"frames": 5704, "boxes": 18048, "labeled boxes": 14907, "persons": 483}
        | _per_sequence(
            "c1s1 530 c1s2 361 c2s1 754 c3s1 996 c4s1 348 c4s2 218 c5s1 1251 c6s1 1246"
        ),
        "prw_test": {"frames": 6112, "boxes": 25062, "labeled boxes": 19127, "persons": 544}
        | {"queries": 2057, "queried persons": 450}
        | _per_sequence(
            "c1s2 12 c1s3 381 c1s4 498 c2s1 36 c2s2 557 c3s1 125 c3s2 1144 c4s2 15 c4s3 293 "
            "c4s4 330 c4s5 2 c5s1 52 c5s2 1015 c6s1 16 c6s2 1636"
        ),
    },
)
"""Frames of six cameras; records have camera_id 1..6, and the frame's name as image_id."""
