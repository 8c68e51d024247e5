"""The pictures of a report: scenes, persons, and what is known about them.

Boxes are xyxy in pixels of their picture; images are (H, W, 3) uint8 BGR.
"""

import base64
from collections.abc import Callable
from datetime import timedelta

import cv2
import numpy as np

from person_search.errors import ImageError

from ..persons import Hit
from ..trust import Pictures

SCENE_SIDE, PERSON_HEIGHT = 1120, 320
"""Pixels of the pictures in a page, at most: longer side of a scene, height of a person."""

MOST_KEPT = 2**26
"""Bytes of a scene that is kept for the next hit: 22 megapixels. A scene may take 0.8 GB."""

NOT_NAMED = "not opened: outside of the folders that you named (--pictures FOLDER)"
GONE = "the picture is not there any more"

ReadScene = Callable[[str, float], np.ndarray | str]
"""From a picture's path, and the seconds in a video, to the scene, or to why there is none."""


def scene_reader(pictures: Pictures) -> ReadScene:
    """Reads the scenes that may be opened, and remembers the last one, if it is not too large."""
    last: dict[tuple[str, float], np.ndarray] = {}

    def read(picture: str, seconds: float) -> np.ndarray | str:
        if not pictures.may_open(picture):
            return NOT_NAMED
        if (picture, seconds) in last:
            return last[picture, seconds]
        last.clear()
        try:
            image = pictures.read(picture, seconds)
        except ImageError:
            return GONE
        if image.nbytes <= MOST_KEPT:
            last[picture, seconds] = image
        return image

    return read


def scene_details(hit: Hit) -> dict[str, str]:
    """What is known about the scene of a hit: camera, time, and the place in a video."""
    known = {
        "camera": hit.camera,
        "time": hit.time.strftime("%Y-%m-%d %H:%M:%S") if hit.time else "",
        "at": str(timedelta(seconds=int(hit.seconds))) if hit.frame else "",
    }
    return {name: value for name, value in known.items() if value}


def crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The person in a box."""
    x1, y1 = np.floor(np.maximum(box[:2], 0)).astype(int)
    x2, y2 = np.ceil(box[2:]).astype(int)
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def data_url(image: np.ndarray, side: int) -> str:
    """The image as a URL that contains it, with at most ``side`` pixels on its longer side."""
    scale = side / max(image.shape[:2])
    if scale < 1:
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
