"""Reading image files, fast and with clear errors."""

import cv2
import numpy as np

from person_search.errors import ImageError

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_TRAILER = 4096  # bytes behind the end marker that some cameras append


def read_image(path: str, image_format: str = "BGR") -> np.ndarray:
    """Decode an image file, EXIF rotation applied.

    Args:
        path: any format that OpenCV reads; grey and 16-bit pictures become 8-bit colour.
        image_format: "BGR" or "RGB".

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: no such file, empty, not an image, or truncated. A decoder alone would fill the
            missing part of a truncated JPEG with grey and say nothing.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f"cannot read the image {path}: {error.strerror or error}") from error
    head, tail = data[:2].tobytes(), data[-_JPEG_TRAILER:].tobytes()
    if head == _JPEG_START and _JPEG_END not in tail:
        raise ImageError(f"truncated JPEG: {path} ({len(data)} bytes); copy it again")
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise ImageError(f"not a readable image: {path} ({len(data)} bytes); copy it again")
    # Not cv2.cvtColor: its thread pool hangs in a forked worker whose parent has used it.
    return image[:, :, ::-1] if image_format == "RGB" else image
