"""Folders of re-identification crops: a picture shows one person, whom its place or name tells."""

import os
import re
from pathlib import Path

from .annotated import Box, Fault, Frame, Place, number_or_text, person_id_of

NAMES = ("folders", "market1501")

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def read_crops(folders: list[Path], faults: list[Fault], names: str = "folders") -> list[Frame]:
    """The pictures below folders, by path; the only box of each is the picture.

    Args:
        folders: searched with all that is in them.
        faults: gets what is wrong; what is wrong is left out.
        names: who it is: "folders": the folder that holds the picture is named like the person |
            "market1501": names start with person and camera, ``0002_c1s1_000451_03.jpg``; -1 (junk)
            and 0 (distractors, many people) are nobody in particular.
    """
    frames = []
    for folder in folders:
        paths = sorted(
            os.path.join(parent, name)
            for parent, _, files in os.walk(folder)
            for name in files
            if name.lower().endswith(_SUFFIXES)
        )
        if not paths:
            message = "there is no picture below this folder"
            faults.append(Fault(Place(folder), message, is_fatal=True))
        read = _named_by_folder if names == "folders" else _named_like_market1501
        frames += [frame for path in paths if (frame := read(path, folder, faults)) is not None]
    return frames


def _named_by_folder(path: str, folder: Path, faults: list[Fault]) -> Frame | None:
    place, parent = Place(path), Path(path).parent
    if parent == folder:
        faults.append(Fault(place, "lies in no person's folder"))
        return None
    try:
        person_id = person_id_of(number_or_text(parent.name))
    except ValueError as error:
        faults.append(Fault(place, str(error)))
        return None
    return Frame(path, None, (Box(None, person_id, place),), place)


def _named_like_market1501(path: str, folder: Path, faults: list[Fault]) -> Frame | None:
    place = Place(path)
    match = re.match(r"(-?\d+)_c(\d+)", os.path.basename(path))
    if match is None:
        message = "expected a name that starts with person and camera, 0002_c1s1_000451_03.jpg"
        faults.append(Fault(place, message))
        return None
    person_id, camera = map(int, match.groups())
    box = Box(None, person_id if person_id > 0 else None, place)
    return Frame(path, None, (box,), place, camera=camera)
