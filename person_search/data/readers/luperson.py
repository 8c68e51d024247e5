"""LUPerson (Fu et al., CVPR 2021): 4 million pictures of persons from street videos, no identities.

Read as it is handed out, in one of two forms: a folder of pictures, or an LMDB of them (which takes
lmdb to read). Hybrid pre-training (Tian et al., AAAI 2024) uses 30,000 of them, drawn at random; it
does not say which.
"""

import hashlib
import heapq
import logging
import os
from functools import cache, partial
from pathlib import Path

from person_search.data.containers import count_lmdb
from person_search.data.readers.common import Split, check_split, find_root, load_pickle
from person_search.data.readers.reid import Picture, make_split, register_reid, require_pictures
from person_search.errors import DatasetError

logger = logging.getLogger(__name__)

FOLDERS = ("LUP", "LUPerson", "luperson", "lup")

SPLITS = ("train",)

TREE = """\
    LUP/ (or LUPerson/ or luperson/ or lup/), either
        keys.pkl         names of the pictures
        lmdb/            data.mdb  lock.mdb
    or
        images/          34_01_0341_00001865.jpg ...  (or folders of pictures in LUP/ itself)"""

_KEYS = "keys.pkl"

_SUFFIXES = (".jpg", ".jpeg", ".png")


def _find_folder(root: Path) -> Path:
    """A folder of pictures has nothing but its name to know it by."""
    if root.name in FOLDERS and root.is_dir():
        return root
    return find_root(root, _KEYS, FOLDERS, TREE)


def _read_keys(path: Path) -> list[str]:
    """The keys of an LMDB: published both as a list, and as a dict whose "keys" is that list."""
    content = load_pickle(path)
    keys = content.get("keys") if isinstance(content, dict) else content
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise DatasetError(
            f"{path} holds neither a list of names nor a dict with such a list as 'keys'; fetch "
            "this file again"
        )
    return keys


def _list_lmdb(folder: Path) -> tuple[str, list[str]]:
    """The keys, and what makes a file name of a key when put before it."""
    keys, path = _read_keys(folder / _KEYS), folder / "lmdb"
    require_pictures(keys, folder / _KEYS)
    number = count_lmdb(path)
    if number < len(keys):
        raise DatasetError(
            f"{folder / _KEYS} names {len(keys)} pictures, but {path} holds {number}: the two do "
            "not belong together, or the copy is incomplete"
        )
    return f"lmdb://{path}!", keys


def _list_folder(folder: Path) -> tuple[str, list[str]]:
    """The pictures below a folder, and what makes a file name of theirs when put before it."""
    names = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, files in os.walk(folder)
        for name in files
        if name.lower().endswith(_SUFFIXES)
    ]
    require_pictures(names, folder)
    return f"{folder}{os.sep}", sorted(names)


def _image_id(name: str) -> str:
    """The same for a key and for the picture of that name."""
    return os.path.splitext(name)[0]


def _draw(names: list[str], number: int, seed: int) -> list[str]:
    """``number`` of the names: those whose hashes are smallest.

    So neither the order of the names nor the version of a library plays a part, and a smaller draw
    is part of a larger one.
    """
    if number > len(names):
        logger.warning("LUPerson: %d pictures wanted, %d are there", number, len(names))

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed} {_image_id(name)}".encode()).digest()

    return sorted(heapq.nsmallest(number, names, rank))


@cache
def _read_luperson(root: str, number: int | None, seed: int) -> Split:
    folder = _find_folder(Path(root))
    if (folder / _KEYS).exists():
        prefix, names = _list_lmdb(folder)
    else:
        images = folder / "images"
        prefix, names = _list_folder(images if images.is_dir() else folder)
    if number is not None:
        names = _draw(names, number, seed)
    pictures = [Picture(prefix + name, _image_id(name), raw_id=-1) for name in names]
    return make_split(pictures, "LUPerson")


def load_luperson(root: str | Path, number: int | None = None, seed: int = 0) -> list[dict]:
    """Pictures of LUPerson, all of them UNLABELED: records as :mod:`.reid` describes.

    Args:
        root: the folder of LUPerson, or the folder that holds it as one of ``FOLDERS``.
        number: how many to draw; None: all.
        seed: of the draw.

    Raises:
        DatasetError: something is missing or damaged, or lmdb is not installed.
    """
    return [dict(record) for record in _read_luperson(str(root), number, seed).records]


def register_luperson(
    name: str,
    root: str | Path,
    split: str = "train",
    number: int | None = None,
    seed: int = 0,
) -> None:
    """Registers a copy of LUPerson under ``name``; see ``load_luperson`` for the arguments."""
    check_split(split, SPLITS)
    register_reid(name, partial(_read_luperson, str(root), number, seed), root=root, split=split)
