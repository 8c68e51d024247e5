"""Pictures inside one big file: a file name "<kind>://<container>!<member>" opens one of them.

    lmdb:///data/LUP/lmdb!34_01_0341_00001865         LMDB: the file behind a key
    mat73:///data/cuhk03/cuhk-03.mat!labeled/0/12/5   MATLAB 7.3: an image in nested cells, as PNG

They are handlers of detectron2's ``PathManager``: wherever it opens files, such a name will do.
lmdb and h5py are needed for these names only.
"""

import io
import os
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import IO

import cv2
import numpy as np
from detectron2.utils.file_io import PathHandler, PathManager

from ..errors import DatasetError, ImageError
from ..files import optional_module
from ..images import CONTAINERS, MAX_PIXELS

_OPEN: dict[str, object] = {}
"""Container -> its LMDB environment or HDF5 file, kept open in this process."""

_LOCK = threading.Lock()

# Of LMDB's first two pages, after a header of 16 bytes: magic, version, page size, root of the
# values, last page, transaction; what lies between plays no part.
_LMDB_META = struct.Struct("=16x II 16x I 84x Q QQ")
_LMDB_MAGIC = 0xBEEFC0DE, 1
_LMDB_NO_PAGE = 2**64 - 1


def _kept_open(open_container: Callable[[str], object], path: str | os.PathLike):
    """A container, opened if it is not yet: LMDB refuses to be opened twice in a process."""
    path = os.path.realpath(path)
    with _LOCK:
        if path not in _OPEN:
            _OPEN[path] = open_container(path)
        return _OPEN[path]


def _close_all() -> None:
    with _LOCK:
        while _OPEN:
            _OPEN.popitem()[1].close()


if hasattr(os, "register_at_fork"):
    # Neither library lets a loader's worker go on with what its parent had open.
    os.register_at_fork(before=_close_all)


def _check_lmdb(folder: str) -> None:
    """Raises DatasetError where a file is shorter than its own notes say.

    LMDB maps the file into memory, and what is missing at its end would kill the process (SIGBUS)
    once it is read. Either of the first two pages says which page is the last one in use; the one
    of the later transaction counts. With pages of 4096 bytes and the last page 211, a sound file
    has 212 * 4096 = 868352 bytes or more.
    """
    path, found = os.path.join(folder, "data.mdb"), []
    try:
        with open(path, "rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.read(_LMDB_META.size)
            page = _LMDB_META.unpack(start)[2] if len(start) == _LMDB_META.size else 0
            file.seek(page)
            for data in (start, file.read(_LMDB_META.size)):
                if len(data) == _LMDB_META.size:
                    magic, version, page, root, last, transaction = _LMDB_META.unpack(data)
                    if (magic, version) == _LMDB_MAGIC and page.bit_count() == 1:
                        root = 0 if root == _LMDB_NO_PAGE else root
                        found.append((transaction, page * (1 + max(last, root))))
    except OSError as error:
        raise DatasetError(f"{folder} is no LMDB that can be read: {error}") from error
    if len(found) < 2:
        raise DatasetError(f"{path} is no LMDB of this kind of machine, or damaged: copy it again")
    if size < (needed := max(found)[1]):
        raise DatasetError(
            f"{path} has {size} bytes of the {needed} that it says it has: copy it again"
        )


def _open_lmdb(folder: str):
    lmdb = optional_module("lmdb", "datasets", DatasetError)
    _check_lmdb(folder)
    try:
        return lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise DatasetError(f"{folder} is no LMDB that can be read: {error}") from error


def count_lmdb(folder: str | os.PathLike) -> int:
    """Number of values of the LMDB in a folder."""
    return _kept_open(_open_lmdb, folder).stat()["entries"]


def open_hdf5(path: str | os.PathLike):
    """A MATLAB 7.3 file (HDF5), for reading."""
    h5py = optional_module("h5py", "datasets", DatasetError)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(f"{path} is no MATLAB 7.3 file that can be read: {error}") from error


class _ContainerHandler(PathHandler, ABC):
    """Names "<prefix><container>!<member>"; subclasses know the container."""

    prefix: str
    open_container: Callable[[str], object]

    def _get_supported_prefixes(self) -> list[str]:
        return [self.prefix]

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs) -> IO[bytes]:
        if mode != "rb":
            raise ValueError(f"{path} can only be opened with mode 'rb'")
        container, _, member = path.removeprefix(self.prefix).rpartition("!")
        return io.BytesIO(self.read(_kept_open(self.open_container, container), member, path))

    @abstractmethod
    def read(self, container, member: str, path: str) -> bytes:
        """The encoded picture of a member; ``path`` is its whole name, for errors."""


class LMDBHandler(_ContainerHandler):
    """Values of an LMDB that are encoded pictures."""

    prefix = "lmdb://"
    open_container = staticmethod(_open_lmdb)

    def read(self, container, member: str, path: str) -> bytes:
        lmdb = optional_module("lmdb", "datasets", DatasetError)
        try:
            with container.begin() as transaction:
                value = transaction.get(member.encode())
        except (lmdb.Error, ValueError) as error:  # a damaged page, or a name that is no key
            raise ImageError(f"{path} cannot be read ({error}): copy the LMDB again") from error
        if value is None:
            raise ImageError(f"{path}: the LMDB holds nothing under that key; copy it again")
        return value


class MatlabCellHandler(_ContainerHandler):
    """RGB images in MATLAB's nested cell arrays, which HDF5 keeps transposed.

    A member is "<variable>/<cell>/<row>/<column>": an image in a matrix in a list, from 0.
    """

    prefix = "mat73://"
    open_container = staticmethod(open_hdf5)

    def read(self, container, member: str, path: str) -> bytes:
        try:
            variable, cell, row, column = member.split("/")
            matrix = container[container[variable][0, int(cell)]]
            cell = container[matrix[int(column), int(row)]]
            if cell.size > 3 * MAX_PIXELS:
                raise ImageError(f"{path} is too large: its shape is {cell.shape}")
            pixels = np.asarray(cell).T
        except (KeyError, ValueError, IndexError, TypeError, OSError, RuntimeError) as error:
            raise ImageError(f"{path}: no such member ({error}); copy the file again") from error
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ImageError(f"{path} is {pixels.dtype} {pixels.shape}, not an RGB image")
        return cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()


for handler in (LMDBHandler(), MatlabCellHandler()):
    PathManager.register_handler(handler)


def is_member(path: str) -> bool:
    """Whether a file name is one of a picture inside a container."""
    return path.startswith(CONTAINERS)


def file_of(path: str) -> str:
    """The file on disk that holds a picture: the picture's own, or that of its container."""
    if not is_member(path):
        return path
    container = path.split("://", 1)[1].rpartition("!")[0]
    data = os.path.join(container, "data.mdb")
    return data if path.startswith(LMDBHandler.prefix) else container
