"""Parts of a frame in which there may be persons without a box: polygons x, y, x, y, ..."""

from collections.abc import Sequence

import cv2
import numpy as np


def region_mask(regions: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """(height, width) uint8: 1 where a region is, to the pixel.

    Args:
        regions: they may overlap, and those of one or two points are none.
        size: (height, width) of the frame.
    """
    mask = np.zeros(size, np.uint8)
    for region in regions:
        if len(region) >= 6:
            cv2.fillPoly(mask, [np.round(np.reshape(region, (-1, 2))).astype(np.int32)], 1)
    return mask


def hide_regions(
    image: np.ndarray,
    regions: Sequence[Sequence[float]],
    boxes: np.ndarray,
    fill: Sequence[float],
) -> np.ndarray:
    """The picture with its regions filled, but for what is inside of boxes; itself without any.

    Args:
        image: (H, W, 3) uint8, which stays as it is.
        boxes: (n, 4) xyxy in pixels of it.
        fill: the color.
    """
    mask = region_mask(regions, image.shape[:2])
    if not mask.any():
        return image
    corners = np.round(np.reshape(boxes, (-1, 4))).astype(np.int64).clip(min=0)
    for x1, y1, x2, y2 in corners:
        mask[y1:y2, x1:x2] = 0
    image = image.copy()
    image[mask > 0] = np.round(fill)
    return image
