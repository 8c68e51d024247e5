"""Reading image files: fast, with clear errors, and within a limit of memory.

The header says how many pixels a picture has, before any memory is taken for them. So a file of
some kilobytes that unfolds to gigabytes is refused, whoever reads it: training, importing, the
gallery, its page, and the tools all read here.
"""

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .errors import ConfigError, ImageError
from .files import optional_module, require_regular_file

CONTAINERS = ("lmdb://", "mat73://")
"""What the names of pictures inside a container begin with (:mod:`.data.containers`)."""


def _max_pixels() -> int:
    text = os.environ.get("PERSON_SEARCH_MAX_PIXELS") or str(2**28)
    if not text.isdecimal():
        raise ConfigError(f"PERSON_SEARCH_MAX_PIXELS is {text!r}: give a number of pixels")
    return int(text)


MAX_PIXELS = _max_pixels()
"""Pictures of more pixels are not decoded: 268 megapixels, 0.8 GB each. The environment variable
PERSON_SEARCH_MAX_PIXELS sets another limit."""

_BYTES_PER_PIXEL = 8
"""A file that has more than this per pixel of the limit is no picture (RGBA of 16 bits has 8)."""

_EXIF_ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of TIFF
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
_JPEG2000_SIZE = b"\xff\x4f\xff\x51"

# What OpenCV prints about damaged files would come on top of the error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class _Format:
    """A kind of picture.

    Attributes:
        name: "JPEG" ...
        starts: whether the first bytes of a file are of this kind.
        open: reads its header with Pillow, whatever its size; ``Image.open`` has a limit of its
            own, and looks for dozens of rarer formats, whose decoders stay closed here.
        by_pillow: OpenCV does not decode it, or does not turn it upright.
    """

    name: str
    starts: Callable[[bytes], bool]
    open: Callable[[io.IOBase], Image.Image]
    by_pillow: bool = False


def _has_brand(*brands: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[4:8] == b"ftyp" and data[8:12] in brands


def _open_avif(file: io.IOBase) -> Image.Image:
    plugin = optional_module("PIL.AvifImagePlugin", "heif", ImageError)
    return plugin.AvifImageFile(file)


def _open_heif(file: io.IOBase) -> Image.Image:
    return optional_module("pillow_heif", "heif", ImageError).HeifImageFile(file)


_FORMATS = (
    _Format("JPEG", lambda data: data[:3] == _JPEG_START, JpegImageFile),
    _Format("PNG", lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", PngImageFile),
    _Format("WEBP", lambda data: data[:4] + data[8:12] == b"RIFFWEBP", WebPImageFile),
    _Format("GIF", lambda data: data[:6] in (b"GIF87a", b"GIF89a"), GifImageFile),
    _Format("BMP", lambda data: data[:2] == b"BM", BmpImageFile),
    _Format("TIFF", lambda d: d[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
    _Format("PNM", lambda data: data[:1] == b"P" and data[1:2] in b"123456", PpmImageFile),
    _Format(
        "JPEG2000",
        lambda d: d[:4] == _JPEG2000_SIZE or d[:12] == b"\0\0\0\x0cjP  \r\n\x87\n",
        Jpeg2KImageFile,
    ),
    _Format("AVIF", _has_brand(b"avif", b"avis"), _open_avif, by_pillow=True),
    _Format(
        "HEIF",
        _has_brand(*b"heic heix heim heis hevc hevx mif1 msf1".split()),
        _open_heif,
        by_pillow=True,
    ),
)


def read_image(path: str, image_format: str = "BGR", max_pixels: int | None = None) -> np.ndarray:
    """Decode an image file, EXIF rotation applied.

    Args:
        path: of a JPEG, PNG, WebP, GIF (its first frame), BMP, TIFF, PNM, JPEG 2000, AVIF or HEIF
            file; gray and 16-bit pictures become 8-bit color. It may also name a picture inside a
            container, see :mod:`person_search.data.containers`.
        image_format: "BGR" or "RGB".
        max_pixels: more are not decoded; None: :data:`MAX_PIXELS`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: no such file, empty, not an image, too large, or truncated. A decoder alone
            would fill the missing part of a truncated JPEG with gray and say nothing.
    """
    return decode_image(_read_bytes(path), path, image_format, max_pixels)


def decode_image(
    data: np.ndarray, name: str, image_format: str = "BGR", max_pixels: int | None = None
) -> np.ndarray:
    """As :func:`read_image`, of the bytes of a file, (n,) uint8; ``name`` is for the errors."""
    content = data.tobytes()
    if content.startswith(_JPEG_START) and _is_truncated(content):
        raise ImageError(f"truncated JPEG: {name} ({len(data)} bytes); copy it again")
    with _open(io.BytesIO(content), content[:16], name) as (kind, header):
        _check_pixels(header, content, name, max_pixels or MAX_PIXELS)
        size = _upright_size(header)
        if kind.by_pillow:
            image = np.asarray(ImageOps.exif_transpose(header).convert("RGB"))[:, :, ::-1]
        else:
            image = _decode(data)
    if image is None:
        raise ImageError(f"{name} is not a readable image ({len(data)} bytes); copy it again")
    if image.shape[:2] != size:
        shown, said = (f"{w}x{h}" for h, w in (image.shape[:2], size))
        raise ImageError(
            f"{name} is damaged: it shows {shown} pixels, but its header says {said}; copy it again"
        )
    # Not cv2.cvtColor: its thread pool hangs in a forked worker whose parent has used it.
    return image[:, :, ::-1] if image_format == "RGB" else image


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) from the file's header, after the rotation that its EXIF data asks for."""
    with open_header(path) as header:
        return _upright_size(header)


@contextmanager
def open_header(path: str | os.PathLike) -> Iterator[Image.Image]:
    """The Pillow image of a file whose pixels are not decoded; for its size and EXIF data.

    Raises:
        ImageError: no such file, or its header is no picture's. Errors of Pillow in the block
            become such an error, too.
    """
    path = os.fspath(path)
    with _reading(path):
        require_regular_file(path)
        with open(path, "rb") as file:
            start = file.read(16)
            file.seek(0)
            with _open(file, start, path) as (_, header):
                yield header


@contextmanager
def _open(file: io.IOBase, start: bytes, name: str) -> Iterator[tuple[_Format, Image.Image]]:
    """The format of a file, and its Pillow image."""
    kind = next((kind for kind in _FORMATS if kind.starts(start)), None)
    if kind is None:
        raise ImageError(f"{name} is not a readable image: its format is not known; copy it again")
    try:
        with kind.open(file) as header:
            yield kind, header
    except (ImageError, GeneratorExit):
        raise
    except MemoryError:
        raise ImageError(f"{name} is too large for this machine's memory: shrink it") from None
    except Exception as error:  # of damaged files, Pillow's plugins raise all kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ImageError(f"{name} is not a readable image ({reason}); copy it again") from error


def _check_pixels(header: Image.Image, content: bytes, name: str, limit: int) -> None:
    """Raises ImageError where decoding would take more memory than that of ``limit`` pixels."""
    pixels = header.width * header.height
    if isinstance(header, TiffImageFile):  # decoded tile by tile, and a tile may be larger
        tags = header.tag_v2
        pixels = max(pixels, int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0)))
    elif isinstance(header, Jpeg2KImageFile):  # the box around the picture may say less than it
        at = content.find(_JPEG2000_SIZE) + 8
        right, bottom, left, top = struct.unpack(">4I", content[at : at + 16])
        pixels = max(pixels, (right - left) * (bottom - top))
    if pixels > limit:
        raise ImageError(
            f"{name} is too large: it has {pixels / 1e6:.0f} megapixels, and at most "
            f"{limit / 1e6:.0f} are decoded; shrink it, or set PERSON_SEARCH_MAX_PIXELS"
        )


def _upright_size(header: Image.Image) -> tuple[int, int]:
    """(height, width); the size of a TIFF is upright already."""
    turned = header.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return header.size if turned and header.format != "TIFF" else header.size[::-1]


def _decode(data: np.ndarray) -> np.ndarray | None:
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        return None


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(f"cannot read the image {path}: {error.strerror or error}") from error


def _read_bytes(path: str) -> np.ndarray:
    if path.startswith(CONTAINERS):
        from .data.containers import PathManager  # here alone: it needs detectron2

        with _reading(path), PathManager.open(path, "rb") as file:
            return np.frombuffer(file.read(), dtype=np.uint8)
    with _reading(path):
        require_regular_file(path)
        if (size := os.stat(path).st_size) > MAX_PIXELS * _BYTES_PER_PIXEL:
            raise ImageError(f"{path} is too large: it has {size / 1e9:.1f} GB, as no picture has")
        return np.fromfile(path, dtype=np.uint8)


def _is_truncated(jpeg: bytes) -> bool:
    """Whether no end marker follows the header, whose thumbnail has an end marker of its own.

    Cameras append to the end whatever they like, a film even: the marker may be anywhere.
    """
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at : at + 2] != _JPEG_SCAN:
        is_filling = jpeg[at + 1 : at + 2] == b"\xff"
        at += 1 if is_filling else 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg.rfind(_JPEG_END, at) < 0
