"""EuroCity Persons (Braun et al., TPAMI 2019): European cities seen from a car, no identities.

Complete, day / night:
    train: 23,892 / 4,222 frames
    val: 4,266 / 770 frames
The labels of the test split are held back.

Pedestrians are the persons. Riders and groups too far away to be told apart are ignore regions, and
so are pictures of persons ("depiction"); vehicles are left out. Boxes are kept as annotated.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from person_search.errors import DatasetError
from person_search.labels import UNLABELED

from .disk import parsing, require_files
from .records import Split, check_finite, has_area, make_records, to_polygons
from .registration import Reader

_TREE = """\
    ECP/ (or EuroCityPersons/ or EuroCity/ or eurocity/)
        day/ (and night/)
            img/train/amsterdam/       amsterdam_00000.png ...
            labels/train/amsterdam/    amsterdam_00000.json ...
            img/val/  labels/val/      the same"""

_IGNORED = ("rider", "co-rider", "person-group-far-away", "rider+vehicle-group-far-away")


def _walk(children: list[dict]) -> Iterator[dict]:
    """All objects: those of a rider (the vehicle, somebody behind him) are below him."""
    for child in children:
        yield child
        yield from _walk(child.get("children") or [])


def _read_labels(path: Path) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """(height, width), persons and ignore regions of a frame, the latter (n, 4) xyxy each."""
    persons, ignored = [], []
    with parsing(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        size = int(content["imageheight"]), int(content["imagewidth"])
        for item in _walk(content["children"]):
            box = [float(item[key]) for key in ("x0", "y0", "x1", "y1")]
            identity = item["identity"]  # of a few objects null
            if identity == "pedestrian" and "depiction" not in (item.get("tags") or []):
                persons.append(box)
            elif identity == "pedestrian" or identity in _IGNORED:
                ignored.append(box)
    boxes = [np.array(rows, dtype=np.float64).reshape(-1, 4) for rows in (persons, ignored)]
    check_finite(np.concatenate(boxes), f"{path}, box")
    persons, ignored = (rows[has_area(rows)] for rows in boxes)
    return size, persons, ignored


def _read(folder: Path, split: str, time: str) -> Split:
    folder = folder / time
    labels = folder / "labels" / split
    files = sorted(labels.glob("*/*.json"))
    if not files:
        raise DatasetError(f"{labels} holds no labels. Expected\n{_TREE}")
    names = [str(file.relative_to(labels).with_suffix("")) for file in files]
    paths = require_files(folder / "img" / split, [f"{name}.png" for name in names])
    with ThreadPoolExecutor(8) as pool:  # on a cold or network disk the time goes into waiting
        sizes, persons, ignored = zip(*pool.map(_read_labels, files), strict=True)
    records = make_records(
        paths,
        [name.rpartition("/")[2] for name in names],
        [-1] * len(names),
        persons,
        [np.full(len(frame), UNLABELED) for frame in persons],
        "EuroCity Persons",
        sizes=sizes,  # from the labels: to find a PNG's rotation, all of it would be decoded
        ignore_regions=[to_polygons(frame) for frame in ignored],
    )
    return Split(records, ())


EUROCITY = Reader(
    title="EuroCity Persons",
    folders=("ECP", "EuroCityPersons", "EuroCity", "eurocity"),
    markers=("{time}",),
    tree=_TREE,
    read=_read,
    kind="detection",
    splits=("train", "val"),
    options={"time": ("day", "night")},
    counts={
        "eurocity_train": {"frames": 23892},
        "eurocity_val": {"frames": 4266},
        "eurocity_night_train": {"frames": 4222},
        "eurocity_night_val": {"frames": 770},
    },
)
"""Frames by city and name ("amsterdam_00000"). Option ``time``: "day" or "night"."""
