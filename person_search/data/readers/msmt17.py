"""MSMT17 (Wei et al., CVPR 2018): 15 cameras, in lists of files.

Complete, version 1 and version 2 (the same pictures with blurred faces) alike:
    train: 32,621 pictures of 1,041 persons, those of list_train and list_val together, which is
        what nearly everybody trains on
    test: 11,659 queries and a gallery of 82,161, of 3,060 persons

Test persons are numbered from 0 again: person 0 of the test is not person 0 of the training.
"""

from pathlib import Path

from person_search.errors import DatasetError

from .disk import parsing, require_files
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
    MSMT17_V1/ (or MSMT17_V2/ or MSMT17/ or msmt17/)
        train/  test/                        0000/0000_000_01_0303morning_0008_0.jpg ...
        (mask_train_v2/  mask_test_v2/       in version 2)
        list_train.txt  list_val.txt  list_query.txt  list_gallery.txt"""

_LISTS = {
    "train": {"list_train.txt": TRAIN, "list_val.txt": TRAIN},
    "test": {"list_query.txt": QUERY, "list_gallery.txt": GALLERY},
}


def _picture_folder(folder: Path, split: str) -> Path:
    """Where the pictures of a split are, in either version."""
    versions = [folder / split, folder / f"mask_{split}_v2"]
    found = [path for path in versions if path.is_dir()]
    if not found:
        raise DatasetError(f"{folder} holds neither {versions[0].name}/ nor {versions[1].name}/")
    return found[0]


def _read_list(path: Path, pictures: Path, role: str) -> list[Picture]:
    """The pictures of a list whose lines are 'path person'; the camera is part of the name."""
    with parsing(path):
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    rows = []
    for number, fields in enumerate(lines, start=1):
        if not fields:
            continue
        try:
            name, raw_id = fields
            camera = name.rpartition("/")[2].split("_")[2]
            rows.append((name, int(raw_id), int(camera)))
        except (ValueError, IndexError) as error:
            raise DatasetError(
                f"{path}, line {number}: expected a line like "
                f"'0000/0000_000_01_0303morning_0008_0.jpg 0', found {' '.join(fields)!r}"
            ) from error
    names = [name for name, _, _ in rows]
    require_pictures(names, path)
    files = require_files(pictures, names)
    return [
        Picture(str(file), name, raw_id, camera, role)
        for file, (name, raw_id, camera) in zip(files, rows, strict=True)
    ]


def _read(folder: Path, split: str) -> Split:
    pictures = _picture_folder(folder, split)
    lists = _LISTS[split].items()
    rows = [row for name, role in lists for row in _read_list(folder / name, pictures, role)]
    return make_split(rows, "MSMT17")


def _per_camera(text: str) -> dict[str, int]:
    return {f"camera {camera}": int(n) for camera, n in enumerate(text.split(), start=1)}


MSMT17 = Reader(
    title="MSMT17",
    folders=("MSMT17_V1", "MSMT17_V2", "MSMT17", "msmt17"),
    markers=("list_train.txt",),
    tree=_TREE,
    read=_read,
    kind="reid",
    counts={
        "msmt17_train": {"pictures": 32621, "persons": 1041, "cameras": 15}
        | _per_camera("4910 203 454 1614 4296 1678 3453 795 1396 655 3154 1364 3635 3876 1138"),
        "msmt17_test": {"queries": 11659, "queried persons": 3060, "gallery": 82161}
        | {"persons": 3060},
    },
)
"""Version 1 goes before version 2. Test: the queries, then the gallery."""
