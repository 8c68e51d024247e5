"""What every export is read into, and the faults that are found in it."""

from pathlib import Path
from typing import NamedTuple

PersonId = int | str
"""A person as the annotations name them."""


class Place(NamedTuple):
    """Where something is written: a file, and what in it ("annotation 12", "line 3")."""

    path: Path | str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.path}, {self.what}" if self.what else str(self.path)


class Fault(NamedTuple):
    """Something wrong in the annotations or pictures.

    Attributes:
        place: where.
        message: what, and what to do about it.
        is_fatal: nothing can be left out to be rid of it.
    """

    place: Place
    message: str
    is_fatal: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class Box(NamedTuple):
    """A person in a frame.

    Attributes:
        xywh: pixels of the frame, from 0; None: the frame is a crop, which the person fills.
        person_id: None for a person whom nobody named.
        place: where it is written.
        ignore: not one person, but a region in which there may be persons without a box.
        is_query: chosen as a query of a test set.
    """

    xywh: tuple[float, float, float, float] | None
    person_id: PersonId | None
    place: Place
    ignore: bool = False
    is_query: bool = False


class Frame(NamedTuple):
    """A picture and who is in it; or a crop, whose only box is the whole picture.

    Attributes:
        path: of the picture.
        size: (height, width) as annotated; None where the annotations do not say it.
        boxes: of all persons, and of regions to ignore.
        place: where it is written.
        camera: number or name; None: unknown.
        time: a number that grows with time among the frames of a camera; None: unknown.
        split: "train", "valid" or "test", where the annotations say it.
    """

    path: str
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    place: Place
    camera: int | str | None = None
    time: float | None = None
    split: str | None = None
