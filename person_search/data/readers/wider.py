"""WIDER Pedestrian (Loy et al., 2019): pedestrians of streets, cars and surveillance cameras.

Complete:
    2018: 11,500 training and 5,000 validation pictures
    2019: 287,131 boxes in the training pictures, of driving (ad) and surveillance (sur)

A line is a picture and its boxes: in 2018 ``name (label x y w h)*`` with label 1 for pedestrians
and 2 for cyclists, who are ignore regions; in 2019 ``name (x y w h)*``. A line of a name alone is a
picture without anybody. Other files of the same kind name regions to be ignored. Boxes are kept as
annotated.

Shape shorthand in this module:
    N: number of boxes of one picture
"""

import os
from pathlib import Path

import numpy as np

from person_search.errors import DatasetError
from person_search.labels import UNLABELED

from .disk import listed, parsing
from .records import Split, check_boxes, make_records, to_polygons, to_xyxy
from .registration import Reader

_FILES = {"2019": "{split}_bbox.txt", "2018": "{split}_annotations.txt"}

_IGNORE_FILES = ("ignore_part_{split}.txt", "{split}_ignore_part.txt", "{split}_ignore.txt")

_PEDESTRIAN = 1

_TREE = """\
    WIDER_Pedestrian/ (or wider_pedestrian/ or WiderPedestrian/)
        train_bbox.txt  val_bbox.txt                  2019 (2018: train_annotations.txt ...)
        ignore_part_train.txt  ignore_part_val.txt    (optional)
        ad_train/  sur_train/  ...                    pictures, in any folder"""


def _read_lines(path: Path, columns: int) -> dict[str, np.ndarray]:
    """Name of a picture -> (N, columns) float64 numbers of its line."""
    with parsing(path):
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    found = {}
    for number, fields in enumerate(lines, start=1):
        if not fields:
            continue
        name, *numbers = fields
        where = f"{path}, line {number}"
        if len(numbers) % columns:
            raise DatasetError(
                f"{where}: {len(numbers)} numbers after the name, not {columns} for each box; is "
                "this another edition?"
            )
        if name in found:
            raise DatasetError(f"{where}: the picture {name} stands there twice")
        with parsing(where):
            found[name] = np.array(numbers, dtype=np.float64).reshape(-1, columns)
        check_boxes(found[name][:, -4:], f"{where}, box")
    if not found:
        raise DatasetError(f"{path} names no picture")
    return found


def _find_pictures(folder: Path, names: list[str]) -> list[Path]:
    """Paths of the pictures, wherever below the folder they lie."""
    places: dict[str, list[str]] = {}
    for parent, _, files in os.walk(folder, followlinks=True):
        for name in files:
            places.setdefault(name, []).append(os.path.join(parent, name))
    paths, missing = [], []
    for name in names:
        found = [p for p in places.get(os.path.basename(name), []) if p.endswith(f"/{name}")]
        if len(found) > 1:
            raise DatasetError(f"{folder} holds {name} twice: {listed(found)}")
        missing += [] if found else [name]
        paths += [Path(path) for path in found]
    if missing:
        raise DatasetError(
            f"{len(missing)} pictures are missing in {folder}: {listed(missing)}. Expected\n{_TREE}"
        )
    return paths


def _read(folder: Path, split: str, edition: str) -> Split:
    is_labeled = edition == "2018"
    lines = _read_lines(folder / _FILES[edition].format(split=split), 5 if is_labeled else 4)
    regions: dict[str, np.ndarray] = {}
    for name in _IGNORE_FILES:
        path = folder / name.format(split=split)
        if path.exists():
            regions |= _read_lines(path, 4)
    names = list(lines)
    boxes, ignored = [], []
    for name, rows in lines.items():
        is_person = rows[:, 0] == _PEDESTRIAN if is_labeled else np.ones(len(rows), dtype=bool)
        others = np.concatenate([rows[~is_person, -4:], regions.get(name, np.zeros((0, 4)))])
        boxes.append(to_xyxy(rows[is_person, -4:]))
        ignored.append(to_polygons(to_xyxy(others)))
    records = make_records(
        _find_pictures(folder, names),
        [os.path.splitext(name)[0] for name in names],
        [-1] * len(names),
        boxes,
        [np.full(len(found), UNLABELED) for found in boxes],
        "WIDER Pedestrian",
        ignore_regions=ignored,
    )
    return Split(records, ())


WIDER_PEDESTRIAN = Reader(
    title="WIDER Pedestrian",
    folders=("WIDER_Pedestrian", "wider_pedestrian", "WiderPedestrian", "WIDER_Pedestrian_2018"),
    markers=tuple(file.format(split="{split}") for file in _FILES.values()),
    tree=_TREE,
    read=_read,
    kind="detection",
    splits=("train", "val"),
    options={"edition": tuple(_FILES)},
    counts={
        "wider_pedestrian_train": {"boxes": 287131},
        "wider_pedestrian2018_train": {"frames": 11500},
        "wider_pedestrian2018_val": {"frames": 5000},
    },
)
"""Pictures in the order of the file. Option ``edition``: "2019" or "2018"."""
