"""Writing files whole or not at all, reading arrays, what is no file, and packages that only some
uses need."""

import errno
import glob
import importlib
import os
import platform
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from .errors import PersonSearchError


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place once the block ends.

        with atomic_write("results.npz") as temporary:
            temporary.write_bytes(content)

    A reader sees the old file or the whole new one, also after a crash of the machine: the content
    is on the disk before the name is. If the block raises, nothing is left behind; what a killed
    process leaves, ``<name>.<computer>-<process>.tmp``, is removed when ``path`` is written again.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{platform.node()}-{os.getpid()}.tmp")
    _remove_leftovers(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files for ``path`` of processes of this computer that are no more."""
    begin = f"{path.name}.{platform.node()}-"
    for leftover in path.parent.glob(f"{glob.escape(begin)}*.tmp"):
        process = leftover.name.removeprefix(begin).removesuffix(".tmp")
        if process.isdigit() and not _is_running(int(process)):
            leftover.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 asks only
    except ProcessLookupError:
        return False
    except OSError:  # of another user, or a system that cannot say
        return True
    return True


def require_regular_file(path: str | os.PathLike) -> None:
    """Raises OSError where there is no file, but a folder, or what one might wait for forever."""
    mode = os.stat(path).st_mode
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    for is_kind, kind in kinds.items():
        if is_kind(mode):
            raise OSError(errno.EINVAL, f"it is {kind}, not a file", os.fspath(path))


def read_npz(file: str | os.PathLike | BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file without pickles, by name.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, holds pickles, or something else than arrays.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
    except OSError:
        raise
    except Exception as error:  # damaged bytes make numpy and zipfile raise a dozen types
        raise ValueError(f"not a readable .npz without pickles ({error})") from error
    # numpy gives the bytes of a member that does not begin as an array does.
    others = [name for name, value in arrays.items() if not isinstance(value, np.ndarray)]
    if others:
        raise ValueError(f"not a readable .npz without pickles ({others[0]} is no array)")
    for name, value in arrays.items():
        if value.dtype.kind == "U" and not _is_text(value):
            raise ValueError(f"not a readable .npz without pickles ({name} holds no letters)")
    return arrays


def _is_text(array: np.ndarray) -> bool:
    """Whether all letters of an array exist; numpy stores each as a number of 4 bytes."""
    numbers = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(-1)
    return not array.itemsize or bool((numbers.view(np.uint32) <= sys.maxunicode).all())


def optional_module(
    name: str, extra: str, error: type[PersonSearchError] = PersonSearchError
) -> ModuleType:
    """A module of a package that only some uses need.

    Args:
        name: of the module.
        extra: of ``setup.py``, which brings the package.
        error: what is raised where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as cause:
        raise error(
            f"this needs the package {name.split('.')[0]}: pip install 'person_search[{extra}]' "
            f"(from a checkout: pip install -e '.[{extra}]')"
        ) from cause
