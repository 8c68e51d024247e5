"""What a gallery may make this machine open: only what its user named.

A gallery may come from anybody. Its rows name pictures, and its model note names weights; both are
hints. Commands open a picture only if it lies in a place that the user named, when the gallery was
indexed on this machine or with ``--pictures``, and weights only if the user named a file of exactly
this content here before. What was named is remembered in ``named.jsonl`` in the user's config
folder (``$XDG_CONFIG_HOME/person_search``, or ``~/.config/person_search``), never in the gallery.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from person_search.errors import ImageError
from person_search.structures import GalleryModel

from .sources import read_scene


def named_file() -> Path:
    """Where it is remembered what the user named."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "person_search" / "named.jsonl"


def remember_weights(model: GalleryModel) -> None:
    """Remember the path of weights, or of a pack, that the user named."""
    _remember([{"weights": model.weights_hash, "path": model.weights}])


def named_weights(model: GalleryModel) -> str | None:
    """Where the user named weights with the hash of this model, if they are still there.

    The model's own path is taken only if the user named it, too; else the one named last.
    """
    paths = [line["path"] for line in _lines() if line.get("weights") == model.weights_hash]
    there = [path for path in paths if os.path.exists(path)]
    return model.weights if model.weights in there else next(reversed(there), None)


def remember_pictures(uri: str, places: Iterable[str]) -> None:
    """Remember the files and folders that the user named for a gallery."""
    _remember([{"gallery": uri, "pictures": os.path.abspath(place)} for place in places])


def named_pictures(uri: str) -> list[str]:
    """The files and folders that the user named for a gallery on this machine."""
    return [line["pictures"] for line in _lines() if line.get("gallery") == uri]


def _lines() -> list[dict[str, str]]:
    """What is remembered, oldest first; a damaged line counts as never written."""
    try:
        texts = named_file().read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and all(isinstance(value, str) for value in line.values()):
            if line.keys() in ({"weights", "path"}, {"gallery", "pictures"}):
                lines.append(line)
    return lines


def _remember(lines: list[dict[str, str]]) -> None:
    """Append the lines that are new. A folder that cannot be written only costs an option later."""
    known = _lines()
    text = "".join(json.dumps(line) + "\n" for line in lines if line not in known)
    if text:
        try:
            named_file().parent.mkdir(parents=True, exist_ok=True)
            with open(named_file(), "a", encoding="utf-8") as file:  # others append, too
                file.write(text)
        except OSError:
            pass


class Pictures:
    """The pictures of a gallery that may be opened.

    Args:
        places: files, and folders with all below, that the user named.
    """

    def __init__(self, places: Iterable[str]):
        self._places = {os.path.abspath(place) for place in places}

    def may_open(self, picture: str) -> bool:
        """Whether a path of the gallery is a file that was named, or lies in a folder that was.

        A URL, a relative path, or one that leads up again with ".." is none of them.
        """
        if not os.path.isabs(picture) or "\0" in picture or os.path.normpath(picture) != picture:
            return False
        path = Path(picture)
        return not self._places.isdisjoint(map(str, (path, *path.parents)))

    def read(self, picture: str, seconds: float) -> np.ndarray:
        """(H, W, 3) BGR, the scene of a row.

        Raises:
            ImageError: it may not be opened, or it cannot be read.
        """
        if not self.may_open(picture):
            raise ImageError(
                f"{picture} was not opened: it is outside of the folders that you named; name its "
                "folder with --pictures"
            )
        return read_scene(picture, seconds)
