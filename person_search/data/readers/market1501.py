"""Market-1501 (Zheng et al., ICCV 2015), and every other set in folders of that kind.

Complete:
    train: 12,936 pictures of 751 persons
    test: 3,368 queries of 750 persons; gallery of 15,913, of which 2,798 distractors

A name starts with person and camera: ``0002_c1s1_000451_03.jpg``. Pictures of person -1 ("junk",
which the protocol leaves out of every ranking) are not read. Distractors, person 0 of the gallery,
are ranked: they are a person like any other, whom no query asks for.
"""

import os
import re
from pathlib import Path

from person_search.errors import DatasetError

from .records import Split
from .registration import Reader
from .reid import (
    GALLERY,
    QUERY,
    TRAIN,
    Picture,
    make_split,
    require_pictures,
)

_TREE = """\
    Market-1501-v15.09.15/ (or Market-1501/ or market1501/)
        bounding_box_train/    0002_c1s1_000451_03.jpg ...
        bounding_box_test/     0001_c1s1_001051_03.jpg ...   the gallery
        query/                 0001_c1s1_001051_00.jpg ..."""

_ROLES = {
    "train": {"bounding_box_train": TRAIN},
    "test": {"query": QUERY, "bounding_box_test": GALLERY},
}

_SUFFIXES = (".jpg", ".jpeg", ".png")


def _read_folder(folder: Path, role: str) -> list[Picture]:
    try:
        names = sorted(n for n in os.listdir(folder) if n.lower().endswith(_SUFFIXES))
    except OSError as error:
        raise DatasetError(f"The folder {folder} cannot be listed: {error.strerror}") from error
    require_pictures(names, folder)
    pictures = []
    for name in names:
        match = re.match(r"(-?\d+)_c(\d+)", name)
        if match is None:
            raise DatasetError(
                f"{folder / name}: expected a name that starts with person and camera, e.g. "
                "0002_c1s1_000451_03.jpg"
            )
        raw_id, camera = map(int, match.groups())
        if raw_id >= 0:
            image_id = f"{folder.name}/{name}"
            pictures.append(Picture(str(folder / name), image_id, raw_id, camera, role))
    return pictures


def _read(folder: Path, split: str) -> Split:
    folders = _ROLES[split].items()
    pictures = [p for name, role in folders for p in _read_folder(folder / name, role)]
    return make_split(pictures, "Market-1501")


MARKET1501 = Reader(
    title="Market-1501",
    folders=("Market-1501-v15.09.15", "Market-1501", "market1501"),
    markers=("bounding_box_{split}",),
    tree=_TREE,
    read=_read,
    kind="reid",
    counts={
        "market1501_train": {"pictures": 12936, "persons": 751, "cameras": 6},
        # Distractors count as one person.
        "market1501_test": {"queries": 3368, "queried persons": 750, "gallery": 15913}
        | {"persons": 751, "cameras": 6},
    },
)
"""Any folders of this kind. Test: the queries, then the gallery, each by name."""
