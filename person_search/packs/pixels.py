"""Pictures on their way into a network, and boxes on their way back.

Shape shorthand in this module:
    n: boxes; H, W: size of a picture; h, w: size of a network's input
"""

import cv2
import numpy as np
from PIL import Image


def resize_whole(
    picture: np.ndarray, size: tuple[int, int] | None, resize: str, fill: int
) -> tuple[np.ndarray, np.ndarray]:
    """A picture in the size of a network's input.

    A picture of 640x480 that is letterboxed into 416x416: the scale is min(416 / 640, 416 / 480) =
    0.65, so it becomes 416x312 and stands at the top left; the 104 rows below are filled.

    Args:
        picture: (H, W, 3) uint8.
        size: (h, w); None: as it is.
        resize: "letterbox" | "stretch".
        fill: value of the pixels that a letterbox adds.

    Returns:
        (h, w, 3) uint8; and (2,) how many of its pixels one pixel of the picture became, in x and
        in y; of a letterbox both are the scale, whatever rounding to whole pixels made of it.
    """
    if size is None:
        return picture, np.ones(2)
    height, width = picture.shape[:2]
    if resize == "stretch":
        canvas = cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        return canvas, np.array([size[1] / width, size[0] / height])
    scale = min(size[0] / height, size[1] / width)
    # As YOLOX's own code does it: the scale is rounded, so that 720 x (416 / 720) gives 415.
    inside = max(1, int(width * scale)), max(1, int(height * scale))
    canvas = np.full((*size, 3), fill, np.uint8)
    canvas[: inside[1], : inside[0]] = cv2.resize(picture, inside, interpolation=cv2.INTER_LINEAR)
    return canvas, np.array([scale, scale])


def resize_shortest(
    picture: np.ndarray, min_size: int, max_size: int, resize: str
) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose shorter side becomes ``min_size``, but the longer one at most ``max_size``.

    720x576 with 900 and 1500: 900 / 576 = 1.5625, so 1125x900. 1920x1080: 1500 / 1920 = 0.78125, so
    843.75 rows, which are 844 of "pillow", and 843 of "torchvision".

    Args:
        picture: (H, W, 3) uint8.
        min_size, max_size: in pixels.
        resize: "pillow", as detectron2's ``ResizeShortestEdge``: in 8 bits, each pixel the mean of
            all that it covers; "torchvision", as its detectors: in float, of the nearest four.

    Returns:
        (h, w, 3), uint8 or float32; and the scale, as :func:`resize_whole`.
    """
    height, width = picture.shape[:2]
    scale = min(min_size / min(height, width), max_size / max(height, width))
    if resize == "torchvision":
        size = max(int(width * scale), 1), max(int(height * scale), 1)
        resized = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    else:
        size = int(width * scale + 0.5), int(height * scale + 0.5)
        resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    return resized, np.array([size[0] / width, size[1] / height])


def pad(inputs: np.ndarray, divisible: int) -> np.ndarray:
    """(n, 3, h, w), zero at the bottom and right, where h and w are no multiples of a number."""
    below, right = (-inputs.shape[2]) % divisible, (-inputs.shape[3]) % divisible
    return np.pad(inputs, ((0, 0), (0, 0), (0, below), (0, right)))


def cut_out(
    picture: np.ndarray, box: np.ndarray, size: tuple[int, int], resize: str = "linear"
) -> np.ndarray:
    """(h, w, 3) of every pixel that an xyxy box touches, stretched to ``size``.

    ``resize`` is "linear" (of OpenCV), "bicubic" (of Pillow, which takes all pixels into account
    where a crop shrinks: fast-reid), or "area": the means of pixels where a crop loses rows, else
    linear (:mod:`person_search.data.crop_cache`).
    """
    height, width = picture.shape[:2]
    x1, y1 = np.clip(np.floor(box[:2]), 0, [width - 1, height - 1]).astype(int)
    x2, y2 = np.clip(np.ceil(box[2:]), [x1 + 1, y1 + 1], [width, height]).astype(int)
    crop, (h, w) = picture[y1:y2, x1:x2], size
    if resize == "bicubic":
        return np.asarray(Image.fromarray(crop).resize((w, h), Image.Resampling.BICUBIC))
    shrinks = resize == "area" and y2 - y1 > h
    return cv2.resize(crop, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def to_input(pictures: list[np.ndarray], color: str, mean: tuple, std: tuple) -> np.ndarray:
    """(n, 3, h, w) float32 of BGR pictures of one size, (pixel - mean) / std."""
    batch: np.ndarray = np.stack(pictures).astype(np.float32)
    if color == "RGB":
        batch = batch[..., ::-1]
    if any(mean):
        batch = batch - np.array(mean, np.float32)
    if any(value != 1 for value in std):
        batch = batch / np.array(std, np.float32)
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def to_picture(boxes: np.ndarray, scale: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n, 4) boxes of a network's input -> pixels of the picture of ``shape``, clipped to it."""
    height, width = shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    scaled = np.asarray(boxes, np.float32) / np.tile(scale, 2).astype(np.float32)
    return np.clip(scaled, 0, limits)


def unit(rows: np.ndarray) -> np.ndarray:
    """(n, D) rows of length 1."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
