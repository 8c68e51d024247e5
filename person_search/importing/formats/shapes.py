"""The box x, y, width, height around other shapes that annotation programs draw."""

import math
from collections.abc import Sequence
from typing import Any

from pycocotools import mask

from .. import values

Xywh = tuple[float, float, float, float]


def around(xs: Sequence[Any], ys: Sequence[Any]) -> Xywh:
    """The box around points. ValueError where they are none."""
    if not xs or len(xs) != len(ys):
        raise ValueError("a shape without points")
    columns, rows = [values.number(x) for x in xs], [values.number(y) for y in ys]
    return values.corners(min(columns), min(rows), max(columns), max(rows))


def around_pairs(points: Any) -> Xywh:
    """The box around points x, y, x, y, ..., or [x, y], [x, y], ..."""
    if not isinstance(points, list):
        raise ValueError("a shape without points")
    if all(isinstance(point, list | tuple) and len(point) == 2 for point in points):
        points = [value for point in points for value in point]
    return around(points[::2], points[1::2])


def around_ellipse(cx: Any, cy: Any, rx: Any, ry: Any) -> Xywh:
    """The box around an ellipse, or a circle."""
    cx, cy, rx, ry = map(values.number, (cx, cy, rx, ry))
    return values.corners(cx - rx, cy - ry, cx + rx, cy + ry)


def around_mask(rle: Any) -> Xywh:
    """The box around a mask in COCO's run-length encoding."""
    try:
        counts = rle["counts"]
        height, width = (int(side) for side in rle["size"])
        if not 0 < height * width < 1e9:
            raise ValueError(f"a mask of {width}x{height}")
        if isinstance(counts, str):
            rle = {"size": [height, width], "counts": counts.encode("ascii")}
        elif sum(map(values.whole, counts)) != height * width:
            raise ValueError(f"a mask whose counts do not add up to {width}x{height}")
        else:
            rle = mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        return values.box(mask.toBbox(rle).tolist())
    except (KeyError, TypeError, OverflowError, UnicodeEncodeError) as error:
        raise ValueError("a mask that is not run-length encoded") from error


def turned(xywh: Any, degrees: Any, about_corner: bool) -> Xywh:
    """The box around a box that is turned clockwise.

    Args:
        xywh: before it is turned.
        degrees: of the turn; None: none.
        about_corner: turned about its first corner (Label Studio), else its center (CVAT).
    """
    x, y, width, height = values.box(xywh)
    angle = math.radians(values.number(degrees or 0))
    if not angle:
        return x, y, width, height
    px, py = (x, y) if about_corner else (x + width / 2, y + height / 2)
    corners = [(cx - px, cy - py) for cx in (x, x + width) for cy in (y, y + height)]
    cos, sin = math.cos(angle), math.sin(angle)
    return around(
        [px + cos * dx - sin * dy for dx, dy in corners],
        [py + sin * dx + cos * dy for dx, dy in corners],
    )
