"""Writing files whole or not at all, and packages that only some uses need."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from .errors import PersonSearchError


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place once the block ends.

        with atomic_write("results.npz") as temporary:
            temporary.write_bytes(content)

    A reader sees the old file or the whole new one, also after a crash of the machine: the content
    is on the disk before the name is. If the block raises, nothing is left behind.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
