"""Folders of re-identification crops: a picture shows one person, whom its place or name tells."""

import os
import re
from collections import defaultdict
from pathlib import Path

from .. import values
from ..annotated import Frame, Place
from ..pictures import is_picture, walk
from ..reading import Reading

NAMES = ("folders", "inner", "outer", "market1501")


def read(path: Path, reading: Reading) -> list[Frame]:
    """The pictures below a folder, by path; the only box of each is the picture.

    ``names`` of the options says who it is. "folders": the folder that holds the picture, which has
    to lie right below ``path``. "inner", "outer": the same, wherever it lies, and the first folder
    below ``path``. "market1501": names start with person and camera, ``0002_c1s1_000451_03.jpg``;
    -1 (junk) and 0 (distractors, many people) are nobody in particular.
    """
    files = list(walk(path, reading))
    for file in files:
        if not is_picture(file):
            suffix = os.path.splitext(file)[1].lower() or "none"
            reading.tally.leave("pictures", f"suffix {suffix}", file)
    pictures = [file for file in files if is_picture(file)]
    if not pictures:
        reading.fault(Place(path), "there is no picture below this folder", is_fatal=True)
    names = reading.options.names
    if names == "folders":
        _check_depth(pictures, path, reading)
    frames = []
    for picture in pictures:
        place = Place(picture)
        found = _from_name(picture) if names == "market1501" else _from_folder(picture, path, names)
        if isinstance(found, str):
            reading.fault(place, found, loses="pictures")
            continue
        person, camera = found
        box = reading.box(place, None, person)
        boxes = () if box is None else (box,)
        frames.append(Frame(picture, None, boxes, place, camera=camera))
    return frames


def _check_depth(pictures: list[str], root: Path, reading: Reading) -> None:
    """Below persons there may be tracklets or cameras, and above them cameras or splits."""
    deep = defaultdict(list)
    for picture in pictures:
        parts = Path(picture).relative_to(root).parts[:-1]
        if len(parts) > 1:
            deep[parts[-1]].append("/".join(parts))
    if deep:
        inner, paths = max(deep.items(), key=lambda item: len(set(item[1])))
        outer = paths[0].partition("/")[0]
        message = (
            f"folders in folders, such as {paths[0]} and {paths[-1]}: say whether the person is "
            f"the inner one, {inner} (--names inner), or the outer one, {outer} (--names outer)"
        )
        reading.fault(Place(root), message, is_fatal=True)


def _from_folder(picture: str, root: Path, names: str) -> tuple[int | str, None] | str:
    """Person, and no camera; or what is wrong."""
    parts = Path(picture).relative_to(root).parts[:-1]
    if not parts:
        return "lies in no person's folder"
    return values.number_or_text(parts[0 if names == "outer" else -1]), None


def _from_name(picture: str) -> tuple[int | None, int] | str:
    """Person and camera; or what is wrong."""
    match = re.match(r"(-?\d+)_c(\d+)", os.path.basename(picture))
    if match is None:
        return "expected a name that starts with person and camera, 0002_c1s1_000451_03.jpg"
    person, camera = map(int, match.groups())
    return (person if person > 0 else None), camera
