"""Data sets on disk: their folder, the files in it, and files that are damaged."""

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from person_search.errors import DatasetError


def find_root(
    root: str | Path, markers: Sequence[str], folders: Sequence[str], tree: str, remedy: str = ""
) -> Path:
    """The folder of a data set: ``root`` itself where it holds a marker, or one inside ``root``.

    Args:
        root: the data set's own folder, or the folder of all data sets.
        markers: paths of which every copy of the data set has one.
        folders: names under which copies are known, the first that exists is taken.
        tree: what the folder should hold, for the error message.
        remedy: where the data set comes from, if not from its authors.
    """
    root = Path(root)
    if any((root / marker).exists() for marker in markers):
        return root
    for folder in folders:
        if (root / folder).is_dir():
            return root / folder
    if root.name in folders and root.is_dir():
        return root  # a folder of pictures alone has nothing but its name to know it by
    remedy = remedy or (
        "Set the environment variable DETECTRON2_DATASETS to the folder that holds "
        f"{folders[0]}, before Python starts. Where to get it: datasets/README.md"
    )
    raise DatasetError(f"No {folders[0]} data set in {root}. Expected\n{tree}\n{remedy}")


@contextmanager
def parsing(path: Path | str) -> Iterator[None]:
    """Turns whatever parsing ``path`` raises into one DatasetError that names it.

    scipy raises nearly any exception for a damaged file, and numpy for another structure.
    """
    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except Exception as error:
        raise DatasetError(
            f"{path} is damaged or not of the expected structure "
            f"({type(error).__name__}: {error}); fetch this file again"
        ) from error


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def require_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Paths of ``names``, relative to ``folder``; DatasetError unless all of them are there."""
    present = set()
    for parent in dict.fromkeys(map(os.path.dirname, names)):
        try:
            present.update(os.path.join(parent, name) for name in os.listdir(folder / parent))
        except OSError as error:
            raise DatasetError(
                f"The folder {folder / parent} cannot be listed: {error.strerror}"
            ) from error
    missing = [name for name in names if name not in present]
    if missing:
        raise DatasetError(f"{len(missing)} files are missing in {folder}: {listed(missing)}")
    return [folder / name for name in names]


class _PicklesOfPlainData(pickle.Unpickler):
    """Lists, dicts, numbers and strings only: any other pickle can run code when it is read."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def load_pickle(path: Path) -> object:
    """Plain data of a pickle file, which is not let run code."""
    with parsing(path), path.open("rb") as file:
        return _PicklesOfPlainData(file).load()
