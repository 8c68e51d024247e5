"""Checks of pictures and boxes, whatever they were read from.

Each lists what is wrong and returns the frames without it.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from person_search.errors import ImageError
from person_search.images import image_size, read_image

from .annotated import Box, Frame
from .reading import Reading

_AT_ONCE = 256
"""Pictures that are being looked at: a bound on memory, whatever the number of pictures."""


def check_frames(
    frames: list[Frame], reading: Reading, pictures: str | None = "decode"
) -> list[Frame]:
    """All checks below, in an order in which none reports what another did.

    Args:
        frames: as read.
        reading: gets what is wrong.
        pictures: "decode": every picture is decoded, which finds truncated ones | "size": only
            their headers are read | None: they are not looked at.
    """
    frames = check_names(frames, reading)
    if pictures is not None:
        frames = check_pictures(frames, reading, decode=pictures == "decode")
    return check_boxes(frames, reading)


def check_names(frames: Iterable[Frame], reading: Reading) -> list[Frame]:
    """No picture stands there twice, not by a link either."""
    first: dict[str, Frame] = {}
    for frame in frames:
        known = first.setdefault(os.path.realpath(frame.path), frame)
        if known is not frame:
            message = f"the picture {frame.path} stands at {known.place} already"
            reading.fault(frame.place, message, loses="pictures")
    return list(first.values())


def check_pictures(
    frames: list[Frame], reading: Reading, decode: bool = True, workers: int = 8
) -> list[Frame]:
    """Every picture is there, can be read and has the annotated size, which all frames then have.

    Args:
        frames: to check.
        reading: gets what is wrong.
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
                    reading.fault(frame.place, size, loses="pictures")
                elif frame.size not in (None, size):
                    said, real = (f"{w}x{h}" for h, w in (frame.size, size))
                    message = f"{frame.path} is {real}, but the annotations say {said}"
                    reading.fault(frame.place, message, loses="pictures")
                else:
                    found.append(frame._replace(size=size))
    return found


def check_boxes(frames: list[Frame], reading: Reading) -> list[Frame]:
    """Boxes have an area and lie in their frames, at least in part."""
    return [f._replace(boxes=tuple(_good_boxes(f, reading))) for f in frames]


def _good_boxes(frame: Frame, reading: Reading) -> Iterator[Box]:
    for box in frame.boxes:
        message = None if box.xywh is None else _wrong_box(box.xywh, frame.size)
        if message is None:
            yield box
        else:
            reading.fault(box.place, message, loses="boxes")


def _wrong_box(xywh: tuple[float, ...], size: tuple[int, int] | None) -> str | None:
    x, y, width, height = xywh
    name = "the box x, y, width, height = " + ", ".join(f"{v:g}" for v in xywh)
    if width < 1 or height < 1:
        return f"{name} is smaller than a pixel (are these shares of the picture, not pixels?)"
    if size is not None:
        if x + width <= 0 or y + height <= 0 or x >= size[1] or y >= size[0]:
            return f"{name} lies outside the picture of {size[1]}x{size[0]}"
        if width > 3 * size[1] or height > 3 * size[0]:
            return f"{name} is far larger than the picture of {size[1]}x{size[0]}"
    return None
