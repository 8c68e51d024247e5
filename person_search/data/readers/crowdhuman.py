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
from functools import cache, partial
from pathlib import Path

import numpy as np

from person_search.data.readers.common import (
    Split,
    check_split,
    find_root,
    has_area,
    image_sizes,
    listed,
    make_records,
    parsing,
    register_split,
    to_polygons,
    to_xyxy,
)
from person_search.errors import DatasetError
from person_search.labels import UNLABELED

logger = logging.getLogger(__name__)

FOLDERS = ("CrowdHuman", "crowdhuman", "Crowdhuman")

SPLITS = ("train", "val")

BOXES = {"full": "fbox", "visible": "vbox"}

TREE = """\
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
            f"{len(missing)} pictures are missing in {folder}: {listed(missing)}. Expected\n{TREE}"
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
            frames.append(
                (
                    f"{content['ID']}.jpg",
                    to_xyxy(np.reshape([row[BOXES[boxes]] for row in rows], (len(rows), 4))),
                    np.array(is_person, dtype=bool),
                )
            )
    if not frames:
        raise DatasetError(f"{path} names no frame")
    return frames


@cache
def _read_crowdhuman(root: str, split: str, boxes: str) -> Split:
    check_split(split, SPLITS)
    annotation = f"annotation_{split}.odgt"
    folder = find_root(root, annotation, FOLDERS, TREE)
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


def load_crowdhuman(root: str | Path, split: str, boxes: str = "full") -> list[dict]:
    """Frames of CrowdHuman as detectron2 standard dicts, in the order of the annotation file.

    Args:
        root: the folder of CrowdHuman, or the folder that holds it as one of ``FOLDERS``.
        split: "train" or "val".
        boxes: "full", of the whole body, or "visible".

    Returns:
        Dicts with file_name, image_id (name without extension), height, width, camera_id (-1),
        domain, annotations (bbox float xyxy as annotated, person_id UNLABELED) and ignore_regions
        (polygons).

    Raises:
        DatasetError: something is missing or damaged.
    """
    return [dict(record) for record in _read_crowdhuman(str(root), split, boxes).records]


def register_crowdhuman(name: str, root: str | Path, split: str, boxes: str = "full") -> None:
    """Registers a copy of CrowdHuman under ``name``; see ``load_crowdhuman``."""
    check_split(split, SPLITS)
    if boxes not in BOXES:
        raise DatasetError(f"CrowdHuman has no boxes {boxes!r}; legal are {', '.join(BOXES)}")
    register_split(
        name,
        partial(_read_crowdhuman, str(root), split, boxes),
        dirname=root,
        split=split,
        evaluator_type="detection",
    )
