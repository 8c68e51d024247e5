"""MOT17Det (Milan et al., 2016; Dendorfer et al., IJCV 2021): seven videos of streets and malls.

Complete:
    train: 5,316 frames of 7 sequences, 112,297 boxes of walking pedestrians
The labels of the test sequences are held back.

A row is frame, track, x, y, width, height, flag, class, visibility; frames and pixels are counted
from 1. Class 1 with flag 1 is a person. Flag 0, and people who are no walking pedestrians (2 on a
vehicle, 7 static, 8 distractor, 12 reflection), are ignore regions; other classes are left out.
Tracks count in their sequence alone and are not read: it is a set for detection. Boxes are kept as
annotated; those without area in their frame are dropped.

Shape shorthand in this module:
    N: number of boxes of one frame
"""

import re
from pathlib import Path

import numpy as np

from person_search.errors import DatasetError
from person_search.labels import UNLABELED

from .disk import parsing
from .records import Split, check_boxes, has_area, image_sizes, make_records, to_polygons, to_xyxy
from .registration import Reader

PERSONS = (1, -1)
"""Pedestrian; and the class of rows of 2015, which have none."""

IGNORED = (2, 7, 8, 12, 13)
"""Person on a vehicle, static person, distractor, reflection; crowd, in 2020."""

_TREE = """\
    MOT17Det/ (or MOT17/)
        train/MOT17-02/    (or MOT17-02-FRCNN/ ..., of which one is read)
            gt/gt.txt
            img1/          000001.jpg ..."""


def _sequences(folder: Path) -> dict[str, Path]:
    """Name -> folder; MOT17 has every sequence three times, once for each detector."""
    found: dict[str, Path] = {}
    for path in sorted((folder / "train").glob("*/gt/gt.txt")):
        sequence = path.parent.parent
        name = re.sub(r"-(DPM|FRCNN|SDP)$", "", sequence.name)
        found.setdefault(name, sequence)
    if not found:
        raise DatasetError(f"{folder / 'train'} holds no sequence. Expected\n{_TREE}")
    return found


def _read_rows(path: Path) -> np.ndarray:
    """(n, 8) float64 rows frame, track, x, y, w, h, flag, class, with pixels from 0."""
    with parsing(path):
        rows = np.loadtxt(path, delimiter=",", usecols=range(8), ndmin=2)
    check_boxes(rows[:, 2:6], f"{path}, row")
    rows[:, 2:4] -= 1
    return rows


def _read(folder: Path, split: str) -> Split:
    paths, names, cameras, rows = [], [], [], []
    for name, sequence in _sequences(folder).items():
        table = _read_rows(sequence / "gt" / "gt.txt")
        frames = sorted((sequence / "img1").glob("*.jpg"))
        numbers = [int(frame.stem) if frame.stem.isdigit() else -1 for frame in frames]
        if unknown := set(table[:, 0].tolist()) - set(numbers):
            raise DatasetError(
                f"{sequence / 'img1'} lacks the pictures of {len(unknown)} frames that gt.txt "
                f"names; the first is {min(unknown):g}"
            )
        digits = re.search(r"(\d+)$", name)
        for frame, number in zip(frames, numbers, strict=True):
            paths.append(frame)
            names.append(f"{name}/{frame.stem}")
            cameras.append(int(digits[1]) if digits else -1)
            rows.append(table[table[:, 0] == number])
    persons, ignored = [], []
    sizes = image_sizes(paths)
    for table, (height, width) in zip(rows, sizes, strict=True):
        boxes = to_xyxy(table[:, 2:6])
        inside = has_area(np.clip(boxes, 0, [width, height, width, height]))
        flag, kind = table[:, 6], table[:, 7]
        is_person = np.isin(kind, PERSONS) & (flag != 0)
        is_ignored = np.isin(kind, IGNORED) | (np.isin(kind, PERSONS) & (flag == 0))
        persons.append(boxes[is_person & inside])
        ignored.append(to_polygons(boxes[is_ignored & inside]))
    records = make_records(
        paths,
        names,
        cameras,
        persons,
        [np.full(len(boxes), UNLABELED) for boxes in persons],
        "MOT17Det",
        sizes=sizes,
        ignore_regions=ignored,
    )
    return Split(records, ())


MOT17DET = Reader(
    title="MOT17Det",
    folders=("MOT17Det", "MOT17"),
    markers=tuple(f"train/MOT17-02{detector}" for detector in ("", "-DPM", "-FRCNN", "-SDP")),
    tree=_TREE,
    read=_read,
    kind="detection",
    splits=("train",),
    counts={"mot17det_train": {"frames": 5316, "boxes": 112297}},
)
"""Frames by sequence and number ("MOT17-02/000001"); the number of a sequence is its camera."""
