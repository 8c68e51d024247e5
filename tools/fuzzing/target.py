"""What a target is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A kind of files, and what reads them.

    Attributes:
        write: writes sound files into an empty folder.
        read: reads what lies in the folder, given it and the file in it that is a mutant.
        files: pattern of those that are changed.
    """

    write: Callable[[Path], None]
    read: Callable[[Path, Path], object]
    files: str = "**/*"
