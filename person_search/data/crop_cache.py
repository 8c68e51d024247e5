"""The pixels of crops, cut out and resized once and kept in one memory-mapped file.

Decoding whole frames for one person each costs more than training on it.

Shape shorthand in this module:
    N: number of crops; H, W: their size
"""

import hashlib
import json
import logging
import os
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import DTypeLike
from tqdm import tqdm

from ..errors import DatasetError
from ..files import atomic_write
from ..images import read_image
from .containers import file_of

logger = logging.getLogger(__name__)


class CropCache:
    """The pixels of crop records, cut out once.

    Args:
        crops: the records; their order, boxes and files (name, size, time) are the key of the
            cache, so that no old pixels are taken for new ones.
        folder: where the cache file goes; made if needed.
        size: (H, W).

    Attributes:
        pixels: (N, H, W, 3) uint8 RGB, memory-mapped read-only.
    """

    def __init__(self, crops: list[dict], folder: str | os.PathLike, size: tuple[int, int]):
        files = [stamp(name) for name in dict.fromkeys(c["file_name"] for c in crops)]
        key = json.dumps([size, files, [(c["file_name"], c["bbox"]) for c in crops]])
        digest = hashlib.sha256(key.encode()).hexdigest()
        path = Path(folder) / f"crops_{digest[:16]}.npy"
        self.shape = (len(crops), *size, 3)
        if not path.exists():
            try:
                self._write(crops, path)
            except OSError as error:
                need = int(np.prod(self.shape)) // 2**20 + 1
                raise DatasetError(
                    f"cannot write the crop cache {path} ({error}): it needs {need} MB; choose "
                    "another folder with INPUT.REID.CROP_CACHE"
                ) from error
        self.pixels = self._open(path)

    def _open(self, path: Path) -> np.ndarray:
        return open_array(path, "crop cache", np.uint8, self.shape)

    def _write(self, crops: list[dict], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        by_file = defaultdict(list)
        for index, crop in enumerate(crops):
            by_file[crop["file_name"]].append(index)
        with atomic_write(path) as temporary:
            pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, self.shape)
            reserve(temporary)
            for file_name, indices in tqdm(
                by_file.items(), desc="cutting out persons", unit="frame", disable=None
            ):
                image = read_image(file_name, "RGB")
                for index in indices:
                    pixels[index] = cut_out(image, crops[index]["bbox"], self.shape[1:3])
            pixels.flush()
        logger.info("%d crops: %s", len(crops), path)


def open_array(
    path: str | os.PathLike, name: str, dtype: DTypeLike, shape: tuple[int | None, ...]
) -> np.ndarray:
    """The array of a cache file, memory-mapped read-only.

    Args:
        path: of the file.
        name: what it is, for messages.
        dtype, shape: what it has to hold; a side of None may be any.

    Raises:
        DatasetError: the file is damaged, or holds something else.
    """
    remedy = f"remove {path}, it will be made again"
    try:
        found = np.lib.format.open_memmap(path, "r")
    except (OSError, ValueError) as error:
        raise DatasetError(f"damaged {name} ({error}): {remedy}") from error
    fits = len(found.shape) == len(shape) and all(
        side in (None, there) for side, there in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype != dtype:
        raise DatasetError(
            f"the {name} holds {found.dtype} {found.shape}, not {np.dtype(dtype)} {shape}: {remedy}"
        )
    return found


def stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a file; (0, 0) where it is missing, which reading it will say."""
    try:
        found = os.stat(file_of(path))
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def reserve(path: Path) -> None:
    """Take the disk space of a file now: writing to a mapped file on a full disk kills Python."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def cut_out(image: np.ndarray, bbox: list[float] | None, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of an xyxy box, clipped to the image and resized without keeping its shape.

    Args:
        image: (h, w, 3) uint8.
        bbox: xyxy in pixels; None: the whole image.
        size: (H, W).
    """
    height, width = image.shape[:2]
    if bbox is not None:
        x1, y1, x2, y2 = np.round(bbox).astype(int)
        x1, y1 = np.clip([x1, y1], 0, [width - 1, height - 1])
        x2, y2 = np.clip([x2, y2], [x1 + 1, y1 + 1], [width, height])
        image = image[y1:y2, x1:x2]
    shrinks = image.shape[0] > size[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=interpolation)
