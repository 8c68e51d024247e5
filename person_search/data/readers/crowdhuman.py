"""CrowdHuman (Shao et al., 2018): crowds, boxes of every person, no identities.

Complete:
    train: 15,000 frames, 339,565 persons and 99,227 ignore regions
    val: 4,370 frames, 99,481 persons
The labels of the test split were never published.

A person has a box of the full body, of which parts may be hidden or outside of the frame, and one
of the visible part. Boxes are kept as annotated; those without any area inside the frame are
dropped, as everybody does. What is not a person, or is marked to be ignored, is an ignore region.

Shape shorthand in this module:
    N: number of boxes of one frame
"""

import json
import logging
import os
from pathlib import Path

import numpy as np

from person_search.errors import DatasetError
from person_search.labels import UNLABELED

from .disk import listed, parsing
from .records import Split, check_finite, has_area, image_sizes, make_records, to_polygons, to_xyxy
from .registration import Reader

logger = logging.getLogger(__name__)

_BOXES = {"full": "fbox", "visible": "vbox"}

_TREE = """\
    CrowdHuman/ (or crowdhuman/ or Crowdhuman/)
        annotation_train.odgt  annotation_val.odgt
        Images/                273271,c9db000d5146c15.jpg ...
        (or train/Images/  val/Images/, or CrowdHuman_train/Images/  CrowdHuman_val/Images/)"""


def _find_images(folder: Path, split: str, names: list[str]) -> list[Path]:
    """Paths of the pictures, which copies keep in different folders; it may be in several."""
    places = [Path("Images"), Path(split, "Images"), Path(f"CrowdHuman_{split}", "Images")]
    places += [Path(f"CrowdHuman_{split}{part:02}", "Images") for part in (1, 2, 3)]
    found = {}
    for place in (folder / p for p in (*places, split, f"CrowdHuman_{split}")):
        if place.is_dir():
            found |= {name: place / name for name in os.listdir(place)}
    missing = [name for name in names if name not in found]
    if missing:
        raise DatasetError(
            f"{len(missing)} pictures are missing in {folder}: {listed(missing)}. Expected\n{_TREE}"
        )
    return [found[name] for name in names]


def _read_annotations(path: Path, boxes: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Per frame: its file's name, (N, 4) xyxy boxes, (N,) whether each is of a person to be found.

    The file holds one JSON object per line.
    """
    with parsing(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    frames = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        with parsing(f"{path}, line {number}"):
            content = json.loads(line)
            rows = content["gtboxes"]
            is_person = [
                row["tag"] == "person" and not row.get("extra", {}).get("ignore", 0) for row in rows
            ]
            boxes_of = np.reshape([row[_BOXES[boxes]] for row in rows], (len(rows), 4))
            check_finite(boxes_of.astype(np.float64), f"{path}, line {number}, box")
            frames.append(
                (
                    f"{content['ID']}.jpg",
                    to_xyxy(boxes_of),
                    np.array(is_person, dtype=bool),
                )
            )
    if not frames:
        raise DatasetError(f"{path} names no frame")
    return frames


def _read(folder: Path, split: str, boxes: str) -> Split:
    annotation = f"annotation_{split}.odgt"
    rows = _read_annotations(folder / annotation, boxes)
    names = [name for name, _, _ in rows]
    paths = _find_images(folder, split, names)
    sizes = image_sizes(paths)
    persons, ignored, num_dropped = [], [], 0
    for (_, frame, is_person), (height, width) in zip(rows, sizes, strict=True):
        inside = has_area(np.clip(frame, 0, [width, height, width, height]))
        num_dropped += int((~inside & is_person).sum())
        persons.append(frame[inside & is_person])
        ignored.append(to_polygons(frame[inside & ~is_person]))
    if num_dropped:
        logger.info("Dropped %d persons without area in their frame: %s", num_dropped, annotation)
    records = make_records(
        paths,
        [Path(name).stem for name in names],
        [-1] * len(names),
        persons,
        [np.full(len(frame), UNLABELED) for frame in persons],
        "CrowdHuman",
        sizes=sizes,
        ignore_regions=ignored,
    )
    return Split(records, ())


CROWDHUMAN = Reader(
    title="CrowdHuman",
    folders=("CrowdHuman", "crowdhuman", "Crowdhuman"),
    markers=("annotation_{split}.odgt",),
    tree=_TREE,
    read=_read,
    kind="detection",
    splits=("train", "val"),
    options={"boxes": tuple(_BOXES)},
    counts={
        "crowdhuman_train": {"frames": 15000, "boxes": 339565, "ignore regions": 99227},
        "crowdhuman_val": {"frames": 4370, "boxes": 99481},
        "crowdhuman_visible_train": {"frames": 15000},
        "crowdhuman_visible_val": {"frames": 4370},
    },
)
"""Option ``boxes``: "full", of the whole body, or "visible"."""
