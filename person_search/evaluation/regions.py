"""Regions of a frame in which a data set does not say where the persons are.

Shape shorthand in this module:
    n: number of boxes of one frame
"""

import cv2
import numpy as np

from ..data.regions import region_mask

INSIDE = 0.5
"""Share of a box that has to be covered; a choice: as much as a match with a person needs."""


def mostly_inside(boxes: np.ndarray, regions: list[list[float]]) -> np.ndarray:
    """(n,) bool: boxes of which at least half is covered by regions, to the pixel.

    Args:
        boxes: (n, 4) xyxy in pixels, not negative.
        regions: see :func:`.region_mask`.
    """
    if not len(boxes) or not len(regions):
        return np.zeros(len(boxes), bool)
    corners = np.round(boxes).astype(np.int64)
    width, height = corners[:, 2:].max(axis=0)
    covered = region_mask(regions, (max(height, 1), max(width, 1)))
    sums = cv2.integral(covered)  # [y, x]: of what is left of x and above y
    x1, y1, x2, y2 = corners.T
    inside = sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]
    return inside >= INSIDE * np.maximum((x2 - x1) * (y2 - y1), 1)
