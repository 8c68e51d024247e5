"""VisDrone's videos (MOT): ``annotations/<sequence>.txt``, pictures in ``sequences/<sequence>/``.

A row is frame, target, x, y, width, height, score, category, truncation, occlusion. Categories 1
(pedestrian) and 2 (people, who sit or ride) are persons; 0 is a region to be ignored, and so is
whatever has score 0; the others are left out. Frames are counted from 1, pixels from 0.
VisDrone-DET has no identities: its rows have 8 fields.
"""

from collections.abc import Iterator
from pathlib import Path

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import frames_of_video, numbered
from ..reading import Reading
from .files import read_rows

CATEGORIES = (
    "ignored regions", "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle",
    "awning-tricycle", "bus", "motor", "others",
)  # fmt: skip
"""By number."""

PERSONS = ("pedestrian", "people")


def expand(path: Path) -> list[Path]:
    """The files of a folder with ``annotations/`` and ``sequences/``."""
    return sorted((path / "annotations").glob("*.txt")) or [path]


def read(path: Path, reading: Reading) -> list[Frame]:
    """All pictures of a sequence, whose name is the camera."""
    images = reading.options.images
    folder = path.parent / images if images else path.parent.parent / "sequences" / path.stem
    pictures, rows = numbered(folder, reading), _rows(path, reading)
    return frames_of_video(pictures, rows, 1, Place(path), reading, None, camera=path.stem)


def _rows(path: Path, reading: Reading) -> Iterator[tuple[int, Box]]:
    persons = reading.options.categories or PERSONS
    for place, fields in read_rows(path, reading):
        try:
            if len(fields) not in (10, 11) or (len(fields) == 11 and fields[10]):
                raise ValueError(f"{len(fields)} fields, not 10 as in VisDrone's videos")
            number, target = values.whole(fields[0]), values.whole(fields[1])
            score, category = values.whole(fields[6]), values.whole(fields[7])
            if not 0 <= category < len(CATEGORIES):
                raise ValueError(f"category {category}: legal are 0 to {len(CATEGORIES) - 1}")
        except ValueError as error:
            reading.fault(place, str(error), loses="boxes")
            continue
        label = CATEGORIES[category]
        if category and label not in persons:
            reading.tally.leave("boxes", f"category {label}")
            continue
        ignore = category == 0 or score == 0
        box = reading.box(place, fields[2:6], target, ignore=ignore)
        if box is not None:
            yield number, box
