"""Reading image files, fast and with clear errors."""

import cv2
import numpy as np

from .errors import ImageError

CONTAINERS = ("lmdb://", "mat73://")
"""What the names of pictures inside a container begin with (:mod:`.data.containers`)."""

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def read_image(path: str, image_format: str = "BGR") -> np.ndarray:
    """Decode an image file, EXIF rotation applied.

    Args:
        path: any format that OpenCV reads; gray and 16-bit pictures become 8-bit color. It may
            also name a picture inside a container, see :mod:`person_search.data.containers`.
        image_format: "BGR" or "RGB".

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: no such file, empty, not an image, too large, or truncated. A decoder alone
            would fill the missing part of a truncated JPEG with gray and say nothing.
    """
    try:
        data = _read_bytes(path)
    except OSError as error:
        raise ImageError(f"cannot read the image {path}: {error.strerror or error}") from error
    return decode_image(data, path, image_format)


def decode_image(data: np.ndarray, name: str, image_format: str = "BGR") -> np.ndarray:
    """As :func:`read_image`, of the bytes of a file, (n,) uint8; ``name`` is for the errors."""
    if data[:2].tobytes() == _JPEG_START and _is_truncated(data.tobytes()):
        raise ImageError(f"truncated JPEG: {name} ({len(data)} bytes); copy it again")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:  # it returns None for all else
        raise ImageError(
            f"too large: {name} has more than 1073 megapixels (OpenCV's limit), or more than the "
            "memory holds; shrink it"
        ) from error
    if image is None:
        raise ImageError(f"not a readable image: {name} ({len(data)} bytes); copy it again")
    # Not cv2.cvtColor: its thread pool hangs in a forked worker whose parent has used it.
    return image[:, :, ::-1] if image_format == "RGB" else image


def _read_bytes(path: str) -> np.ndarray:
    if not path.startswith(CONTAINERS):
        return np.fromfile(path, dtype=np.uint8)
    from .data.containers import PathManager  # here alone: it needs detectron2

    with PathManager.open(path, "rb") as file:
        return np.frombuffer(file.read(), dtype=np.uint8)


def _is_truncated(jpeg: bytes) -> bool:
    """Whether no end marker follows the header, whose thumbnail has an end marker of its own.

    Cameras append to the end whatever they like, a film even: the marker may be anywhere.
    """
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at : at + 2] != _JPEG_SCAN:
        is_filling = jpeg[at + 1 : at + 2] == b"\xff"
        at += 1 if is_filling else 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg.rfind(_JPEG_END, at) < 0
