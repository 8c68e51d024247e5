"""What every source of annotations is read into, and the faults that are found in it.

A reader of a source, or a check, appends what is wrong to a list of :class:`Fault` and leaves out
what is wrong; it repairs nothing. Whoever calls them decides whether a fault is the end.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

PersonId = int | str
"""A person as the annotations name them."""


class Place(NamedTuple):
    """Where something is written; line 0 is the file as a whole."""

    path: Path | str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


class Fault(NamedTuple):
    """Something wrong in the annotations or pictures.

    Attributes:
        place: where.
        message: what.
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
        person_id: None where nobody in particular.
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
        split: "train" or "test", where the annotations say it.
    """

    path: str
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    place: Place
    camera: int | str | None = None
    time: float | None = None
    split: str | None = None


def number_or_text(text: str) -> int | str:
    """What a format without types (XML, file names) names: "12" is a number, "012" is not."""
    text = text.strip()
    return int(text) if re.fullmatch(r"-?(0|[1-9]\d*)", text) else text


def is_number(value: Any) -> bool:
    """Whether JSON holds a number, which True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def person_id_of(value: Any) -> PersonId | None:
    """A person id as written: a whole number or a text; None, -1 and "" are nobody in particular.

    Raises:
        ValueError: it is anything else.
    """
    if value is None or value == "" or (value == -1 and is_number(value)):
        return None
    if isinstance(value, str) or (is_number(value) and isinstance(value, int) and value >= 0):
        return value
    raise ValueError(
        f"person_id {value!r}: expected a whole number from 0, a text, or -1 for nobody"
    )
