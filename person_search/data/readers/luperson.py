"""LUPerson (Fu et al., CVPR 2021): 4 million pictures of persons from street videos, no identities.

Read as it is handed out, in one of two forms: a folder of pictures, or an LMDB of them (which takes
lmdb to read). Hybrid pre-training (Tian et al., AAAI 2024) uses 30,000 of them, drawn at random; it
does not say which.
"""

import hashlib
import heapq
import logging
import os
from pathlib import Path

from person_search.data.containers import count_lmdb
from person_search.errors import DatasetError

from .disk import load_pickle
from .records import Split
from .registration import Reader
from .reid import Picture, make_split, require_pictures

logger = logging.getLogger(__name__)

_TREE = """\
    LUP/ (or LUPerson/ or luperson/ or lup/), either
        keys.pkl         names of the pictures
        lmdb/            data.mdb  lock.mdb
    or
        images/          34_01_0341_00001865.jpg ...  (or folders of pictures in LUP/ itself)"""

_KEYS = "keys.pkl"

_SUFFIXES = (".jpg", ".jpeg", ".png")


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


def _read(folder: Path, split: str, number: int | None, seed: int | None) -> Split:
    if (folder / _KEYS).exists():
        prefix, names = _list_lmdb(folder)
    else:
        images = folder / "images"
        prefix, names = _list_folder(images if images.is_dir() else folder)
    if number is not None:
        names = _draw(names, number, seed or 0)
    pictures = [Picture(prefix + name, _image_id(name), raw_id=-1) for name in names]
    return make_split(pictures, "LUPerson")


LUPERSON = Reader(
    title="LUPerson",
    folders=("LUP", "LUPerson", "luperson", "lup"),
    markers=(_KEYS,),
    tree=_TREE,
    read=_read,
    kind="reid",
    splits=("train",),
    options={"number": (), "seed": ()},
    counts={
        "luperson_train": {"pictures": 4180243},
        "luperson30k_train": {"pictures": 30000},
    },
)
"""Pictures of nobody in particular. Options ``number``: how many to draw, all by default;
``seed``: of the draw."""
