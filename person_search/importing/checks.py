"""Checks of annotations and pictures, whatever they were read from.

Each check appends what is wrong to a list of faults and returns the frames without it.
"""

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

from person_search.errors import ImageError
from person_search.images import image_size, read_image

from .annotated import Box, Fault, Frame, PersonId, Place

_AT_ONCE = 256
"""Pictures that are being looked at: a bound on memory, whatever the number of pictures."""


def check_frames(
    frames: list[Frame], faults: list[Fault], pictures: str | None = "decode"
) -> list[Frame]:
    """All checks below, in an order in which none reports what another did.

    Args:
        frames: as read.
        faults: gets what is wrong.
        pictures: "decode": every picture is decoded, which finds truncated ones | "size": only
            their headers are read | None: they are not looked at.
    """
    frames = check_names(frames, faults)
    if pictures is not None:
        frames = check_pictures(frames, faults, decode=pictures == "decode")
    frames = check_boxes(frames, faults)
    check_person_ids(frames, faults)
    return frames


def check_names(frames: Iterable[Frame], faults: list[Fault]) -> list[Frame]:
    """No picture stands there twice."""
    first: dict[str, Frame] = {}
    for frame in frames:
        known = first.setdefault(os.path.abspath(frame.path), frame)
        if known is not frame:
            message = f"the picture {frame.path} stands at {known.place} already"
            faults.append(Fault(frame.place, message))
    return list(first.values())


def check_pictures(
    frames: list[Frame], faults: list[Fault], decode: bool = True, workers: int = 8
) -> list[Frame]:
    """Every picture is there, can be read and has the annotated size, which all frames then have.

    Args:
        frames: to check.
        faults: gets what is wrong.
        decode: the whole picture, not only its header.
        workers: threads.
    """

    def size_of(frame: Frame) -> tuple[int, int] | str:
        try:
            if not os.path.isfile(frame.path):
                return f"the picture {frame.path} is missing"
            return read_image(frame.path).shape[:2] if decode else image_size(frame.path)
        except ImageError as error:
            return str(error)

    found = []
    with ThreadPoolExecutor(workers) as pool:
        waiting = iter(frames)
        while some := list(islice(waiting, _AT_ONCE)):
            for frame, size in zip(some, pool.map(size_of, some), strict=True):
                if isinstance(size, str):
                    faults.append(Fault(frame.place, size))
                elif frame.size not in (None, size):
                    said, real = (f"{w}x{h}" for h, w in (frame.size, size))
                    message = f"{frame.path} is {real}, but the annotations say {said}"
                    faults.append(Fault(frame.place, message))
                else:
                    found.append(frame._replace(size=size))
    return found


def check_boxes(frames: list[Frame], faults: list[Fault]) -> list[Frame]:
    """Boxes lie in their frames, and nobody is twice in one."""
    return [f._replace(boxes=tuple(_good_boxes(f, faults))) for f in frames]


def _good_boxes(frame: Frame, faults: list[Fault]) -> Iterable[Box]:
    persons: dict[PersonId, Place] = {}
    for box in frame.boxes:
        message = None if box.xywh is None else _wrong_box(box.xywh, frame.size)
        is_somebody = box.person_id is not None and not box.ignore
        if message is None and is_somebody and box.person_id in persons:
            message = (
                f"person {box.person_id} a second time in {frame.path}, after "
                f"{persons[box.person_id]}"
            )
        if message is not None:
            faults.append(Fault(box.place, message))
            continue
        if is_somebody:
            persons[box.person_id] = box.place
        yield box


def _wrong_box(xywh: tuple[float, ...], size: tuple[int, int] | None) -> str | None:
    x, y, width, height = xywh
    name = "the box x, y, width, height = " + ", ".join(f"{v:g}" for v in xywh)
    if not all(map(math.isfinite, xywh)):
        return f"{name} is not finite"
    if width <= 0 or height <= 0:
        return f"{name} is empty"
    if width < 1 or height < 1:
        return f"{name} is smaller than a pixel (are these shares of the picture, not pixels?)"
    if size is not None:
        if x + width <= 0 or y + height <= 0 or x >= size[1] or y >= size[0]:
            return f"{name} lies outside the picture of {size[1]}x{size[0]}"
    return None


def check_person_ids(frames: list[Frame], faults: list[Fault]) -> None:
    """Somebody has an identity, and no one is called both 3 and "3"."""
    first: dict[PersonId, Place] = {}
    for box in chain.from_iterable(f.boxes for f in frames):
        if box.person_id is not None and not box.ignore:
            first.setdefault(box.person_id, box.place)
    for person_id, place in first.items():
        if isinstance(person_id, int) and str(person_id) in first:
            message = f"person {person_id} is a number here, and a text at {first[str(person_id)]}"
            faults.append(Fault(place, message, is_fatal=True))
    if frames and not first:
        message = "no box of any frame has a person_id: there is nobody to learn or to search"
        faults.append(Fault(frames[0].place, message, is_fatal=True))
