"""Pictures inside one big file: a file name "<kind>://<container>!<member>" opens one of them.

    lmdb:///data/LUP/lmdb!34_01_0341_00001865         LMDB: the file behind a key
    mat73:///data/cuhk03/cuhk-03.mat!labeled/0/12/5   MATLAB 7.3: an image in nested cells, as PNG

They are handlers of detectron2's ``PathManager``: wherever it opens files, such a name will do.
lmdb and h5py are needed for these names only.
"""

import io
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import IO

import cv2
import numpy as np
from detectron2.utils.file_io import PathHandler, PathManager

from ..errors import DatasetError, ImageError
from ..files import optional_module
from ..images import CONTAINERS

_OPEN: dict[str, object] = {}
"""Container -> its LMDB environment or HDF5 file, kept open in this process."""

_LOCK = threading.Lock()


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


def _open_lmdb(folder: str):
    lmdb = optional_module("lmdb", "datasets", DatasetError)
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
        with container.begin() as transaction:
            value = transaction.get(member.encode())
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
            pixels = np.asarray(container[matrix[int(column), int(row)]]).T
        except (KeyError, ValueError, IndexError, TypeError, OSError) as error:
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
