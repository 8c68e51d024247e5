"""The checkpoints of a run: written whole or not at all, and found again after any accident."""

import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from person_search.errors import WeightsError
from person_search.files import atomic_write

from .weights_file import read_weights_file

LAST, FINAL = "last_checkpoint", "model_final.pth"
"""detectron2's names: the file that names the latest checkpoint, and the last one of a run."""


class RunFolder:
    """The checkpoints in the ``OUTPUT_DIR`` of a run.

    A checkpoint is written under another name and renamed, and only then does ``last_checkpoint``
    name it. So at every moment what ``last_checkpoint`` names is whole, and with a first
    checkpoint that it does not name yet the folder still holds one.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def write(self, name: str, content: dict) -> None:
        """Write a checkpoint, such as "model_final.pth", and name it the latest.

        Raises:
            OSError: it cannot be written, with the file's name. What was there before stays.
        """
        path = self.path / name
        try:
            with atomic_write(path) as temporary, open(temporary, "wb") as file:
                torch.save(content, file)
        except RuntimeError as error:
            # torch puts an error of its own before what the system said.
            if not isinstance(cause := error.__context__, OSError):
                raise
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        self.name_latest(name)

    def name_latest(self, name: str) -> None:
        """Write ``last_checkpoint``."""
        with atomic_write(self.path / LAST) as temporary:
            temporary.write_text(name, encoding="utf-8")

    def named(self) -> Path | None:
        """The file that ``last_checkpoint`` names, whether or not it is there."""
        try:
            text = (self.path / LAST).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None
        return self.path / Path(text).name if text else None

    def checkpoints(self) -> Iterator[Path]:
        """Those that are there: the one that ``last_checkpoint`` names, then from new to old."""
        named = self.named()
        if named and named.is_file():
            yield named
        others = [path for path in self.path.glob("model_*.pth") if path != named]
        yield from sorted(others, key=_iteration, reverse=True)

    def newest(self) -> Path | None:
        """The checkpoint that a resumed run would start from, if it can be read."""
        return next(self.checkpoints(), None)

    def keep_final(self, iteration: int) -> None:
        """Keep the last checkpoint of a run that is made longer, under the name of its iteration.

        A longer run ends in a ``model_final.pth`` of its own.
        """
        final, kept = self.path / FINAL, self.path / f"model_{iteration:07d}.pth"
        if final.is_file() and not kept.exists():
            with atomic_write(kept) as temporary:
                shutil.copyfile(final, temporary)


def _iteration(path: Path) -> float:
    """The iteration after which a checkpoint was written.

    A file that cannot be read comes before all others, so that it is tried and the user told.
    """
    if number := re.fullmatch(r"model_(\d+)\.pth", path.name):
        return int(number.group(1))
    try:
        iteration = read_weights_file(path).around.get("iteration")
    except WeightsError:
        return math.inf
    return iteration if isinstance(iteration, int) else -1
