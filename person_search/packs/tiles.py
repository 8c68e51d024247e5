"""Looking at a large picture in overlapping tiles: persons that shrinking would lose.

Shape shorthand in this module:
    n: boxes of one tile
"""

import numpy as np

OVERLAP = 0.2
"""Neighbors share at least so much of a tile's side."""

AT_THE_CUT = 2.0
"""A box that comes so near to a cut side of its tile, in pixels, is taken for part of a person."""


def tiles_of(height: int, width: int, along: int) -> list[tuple[int, int, int, int]]:
    """xyxy of about square tiles, ``along`` of them on the longer side.

    1000x400 with 3: a side of 1000 / (3 - 2 x 0.2) = 385 pixels, so columns from 0, 308 and 615,
    and two rows, from 0 and 15.
    """
    side = int(np.ceil(max(height, width) / (along - (along - 1) * OVERLAP)))
    return [
        (x, y, min(x + side, width), min(y + side, height))
        for y in _starts(height, side)
        for x in _starts(width, side)
    ]


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin, spread evenly."""
    if length <= side:
        return [0]
    number = 1 + int(np.ceil((length - side) / (side * (1 - OVERLAP)) - 1e-6))
    return np.linspace(0, length - side, number).round().astype(int).tolist()


def is_whole(boxes: np.ndarray, tile: tuple[int, int, int, int], shape: tuple) -> np.ndarray:
    """(n,) whether boxes, in pixels of the picture, keep off the sides where the tile was cut.

    A person that is cut there lies whole in the neighbor, or is so large that the whole picture
    shows it well.
    """
    x1, y1, x2, y2 = tile
    height, width = shape[:2]
    low = np.array([x1 + AT_THE_CUT if x1 > 0 else -1, y1 + AT_THE_CUT if y1 > 0 else -1])
    high = np.array(
        [
            x2 - AT_THE_CUT if x2 < width else np.inf,
            y2 - AT_THE_CUT if y2 < height else np.inf,
        ]
    )
    return np.all((boxes[:, :2] > low) & (boxes[:, 2:] < high), axis=1)
