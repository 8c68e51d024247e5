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
from functools import cache, partial
from pathlib import Path

from person_search.data.readers.common import Split, check_split, find_root
from person_search.data.readers.reid import (
    GALLERY,
    QUERY,
    TRAIN,
    Picture,
    make_split,
    register_reid,
    require_pictures,
)
from person_search.errors import DatasetError

FOLDERS = ("Market-1501-v15.09.15", "Market-1501", "market1501")

TREE = """\
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


@cache
def _read_market1501(root: str, split: str) -> Split:
    check_split(split)
    folder = find_root(root, f"bounding_box_{split}", FOLDERS, TREE)
    folders = _ROLES[split].items()
    pictures = [p for name, role in folders for p in _read_folder(folder / name, role)]
    return make_split(pictures, "Market-1501")


def load_market1501_style(root: str | Path, split: str) -> list[dict]:
    """Pictures of Market-1501 or of folders like it: records as :mod:`.reid` describes.

    Args:
        root: the folder of the data set, or the folder that holds it as one of ``FOLDERS``.
        split: "train", or "test": the queries, then the gallery, each by name. Each split has its
            own person ids, 0 .. n-1 in the order of the numbers in the names.

    Raises:
        DatasetError: a folder is missing or empty, or a name does not say who is where.
    """
    return [dict(record) for record in _read_market1501(str(root), split).records]


def register_market1501_style(name: str, root: str | Path, split: str) -> None:
    """Registers folders of this kind under ``name``; see ``load_market1501_style``."""
    check_split(split)
    register_reid(name, partial(_read_market1501, str(root), split), root=root, split=split)
