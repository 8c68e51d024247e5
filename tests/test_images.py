"""Decoding of image files: every kind that users have, and every way a file can be broken."""

import io
import os
import socket
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from person_search import images
from person_search.errors import ConfigError, ImageError
from person_search.images import image_size, read_image

# Top left red, top right green, bottom row blue; each patch is a multiple of a JPEG block.
RED, GREEN, BLUE = (254, 0, 0), (0, 255, 1), (0, 0, 254)
PATCH = 32


def picture() -> np.ndarray:
    """(64, 96, 3) RGB."""
    image = np.zeros((2 * PATCH, 3 * PATCH, 3), np.uint8)
    image[:PATCH, :PATCH] = RED
    image[:PATCH, PATCH:] = GREEN
    image[PATCH:] = BLUE
    return image


def corners(image: np.ndarray) -> list[str]:
    """Name of the strongest channel, in the order RGB, of each corner, row by row."""
    return ["RGB"[int(image[y, x].argmax())] for y in (2, -3) for x in (2, -3)]


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    path = tmp_path / "scene.jpg"
    noise = np.random.default_rng(0).integers(0, 40, (2 * PATCH, 3 * PATCH, 3), dtype=np.uint8)
    Image.fromarray(picture() // 2 + noise).save(path, quality=95)
    return path


def test_png_is_decoded_to_the_very_pixels_in_the_order_asked_for(tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(picture()).save(path)
    rgb = read_image(str(path), "RGB")
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, picture())
    np.testing.assert_array_equal(read_image(str(path), "BGR"), picture()[:, :, ::-1])
    np.testing.assert_array_equal(read_image(str(path)), read_image(str(path), "BGR"))


def test_jpeg_has_the_colors_in_the_order_asked_for(jpeg):
    assert corners(read_image(str(jpeg), "RGB")) == ["R", "G", "B", "B"]
    assert corners(read_image(str(jpeg), "BGR")[:, :, ::-1]) == ["R", "G", "B", "B"]


def test_gray_becomes_three_equal_channels(tmp_path):
    gray = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64) % 256
    path = tmp_path / "gray.png"
    Image.fromarray(gray.astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_image(str(path)), np.repeat(gray[:, :, None], 3, axis=2))


def test_sixteen_bits_become_eight(tmp_path):
    path = tmp_path / "deep.png"
    deep = (picture().astype(np.uint16) * 257)[:, :, ::-1]
    path.write_bytes(cv2.imencode(".png", deep)[1])
    found = read_image(str(path), "RGB")
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - picture()).max() <= 1


def test_alpha_is_dropped_and_does_not_darken(tmp_path):
    path = tmp_path / "alpha.png"
    alpha = np.full((2 * PATCH, 3 * PATCH, 1), 100, np.uint8)
    Image.fromarray(np.concatenate([picture(), alpha], axis=2), "RGBA").save(path)
    np.testing.assert_array_equal(read_image(str(path), "RGB"), picture())


def test_palette_png_becomes_color(tmp_path):
    path = tmp_path / "palette.png"
    Image.fromarray(picture()).quantize(4).save(path)
    assert corners(read_image(str(path), "RGB")) == ["R", "G", "B", "B"]


@pytest.mark.parametrize(
    "orientation, shape, expected",
    [
        (1, (64, 96, 3), ["R", "G", "B", "B"]),
        (3, (64, 96, 3), ["B", "B", "G", "R"]),
        # 6: the file has to be turned a quarter clockwise to stand upright.
        (6, (96, 64, 3), ["B", "R", "B", "G"]),
        (8, (96, 64, 3), ["G", "B", "R", "B"]),
    ],
)
def test_exif_rotation_is_applied(tmp_path, orientation, shape, expected):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(path, exif=exif, quality=95)
    found = read_image(str(path), "RGB")
    assert found.shape == shape
    assert corners(found) == expected


@pytest.mark.parametrize("number", [10, 5000, 10**6], ids=["few", "many", "a film"])
def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(jpeg, number):
    expected = read_image(str(jpeg))
    jpeg.write_bytes(jpeg.read_bytes() + b"made by a camera" + b"\0" * number)
    np.testing.assert_array_equal(read_image(str(jpeg)), expected)


def with_thumbnail(jpeg: Path, filling: bytes = b"") -> tuple[bytes, int]:
    """The file with a thumbnail in its header, and the length of what was put in."""
    data = jpeg.read_bytes()
    thumbnail = b"Exif\0\0" + data
    header = filling + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    return data[:2] + header + data[2:], len(header)


def test_a_thumbnail_in_the_header_is_no_end(jpeg):
    expected = read_image(str(jpeg))
    data, header = with_thumbnail(jpeg, filling=b"\xff\xff")
    jpeg.write_bytes(data)
    np.testing.assert_array_equal(read_image(str(jpeg)), expected)
    for length in (header // 2, header + 100, header + (len(data) - header) // 2, len(data) - 2):
        jpeg.write_bytes(data[:length])
        with pytest.raises(ImageError, match="truncated JPEG.*scene.jpg"):
            read_image(str(jpeg))


@pytest.mark.parametrize("kept", [0.5, 0.9, -2], ids=["half", "nine tenths", "no end marker"])
def test_a_truncated_jpeg_is_an_error_and_not_a_gray_picture(jpeg, kept):
    data = jpeg.read_bytes()
    jpeg.write_bytes(data[: kept if kept < 0 else int(len(data) * kept)])
    with pytest.raises(ImageError, match="truncated") as error:
        read_image(str(jpeg))
    assert str(jpeg) in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"this is a text file\n" * 20, b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_picture_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="broken.jpg"):
        read_image(str(path))


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageError, match="nowhere.jpg.*No such file"):
        read_image(str(tmp_path / "nowhere.jpg"))


def test_a_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageError, match=tmp_path.name):
        read_image(str(tmp_path))


# ------------------------------------------------------------------------ sizes, said and real


def encoded(format: str, image: np.ndarray, orientation: int = 1) -> bytes:
    """An image as the bytes of a file, with an EXIF rotation where the format has one."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    if format == "HEIF":
        pytest.importorskip("pillow_heif", reason="pip install -e '.[heif]'").register_heif_opener()
    with_exif = format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
    Image.fromarray(image).save(file, format, **({"exif": exif} if with_exif else {}))
    return file.getvalue()


FORMATS = "JPEG PNG WEBP GIF BMP TIFF PPM JPEG2000 AVIF HEIF".split()


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_read_by_its_content(tmp_path, format):
    path = tmp_path / "any.name"
    path.write_bytes(encoded(format, picture()))
    assert corners(read_image(str(path), "RGB")) == ["R", "G", "B", "B"]
    assert image_size(path) == (64, 96)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_gives_the_size_that_decoding_gives(tmp_path, format, orientation):
    path = tmp_path / "turned"
    path.write_bytes(encoded(format, picture(), orientation))
    found = read_image(str(path), "RGB")
    assert image_size(path) == found.shape[:2] == ((96, 64) if orientation > 4 else (64, 96))
    upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert corners(found) == corners(np.asarray(upright))


def claim(format: str, width: int, height: int) -> bytes:
    """A small file whose header says that the picture is of this size."""
    data = bytearray(encoded(format, np.zeros((8, 16, 3), np.uint8)))
    if format == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif format == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif format == "PPM":
        data = bytearray(f"P6\n{width} {height}\n255\n".encode() + bytes(100))
    elif format == "TIFF":
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<HHI", tag, 4, 1))
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    elif format == "JPEG2000":  # the box around the picture still says 16x8
        at = data.index(b"\xff\x4f\xff\x51") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    elif format == "WEBP":
        data = bytearray(b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<II", 10, 0))
        data += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + bytes(64)
        data[4:8] = struct.pack("<I", len(data) - 8)
    return bytes(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "JPEG2000"])
def test_too_many_pixels_are_refused_before_memory_is_taken(tmp_path, format):
    path = tmp_path / "bomb"
    path.write_bytes(claim(format, 40_000, 40_000))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="bomb is too large: it has 1600 megapixels, and at"):
            read_image(str(path))
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "TIFF", "JPEG2000", "WEBP"])
def test_a_header_that_lies(tmp_path, format):
    path = tmp_path / "liar"
    path.write_bytes(claim(format, 1000, 900))
    with pytest.raises(ImageError, match="liar is (not a readable image|damaged)"):
        read_image(str(path))


def test_a_limit_of_ones_own(jpeg):
    with pytest.raises(ImageError, match="it has 0 megapixels, and at most 0 are decoded"):
        read_image(str(jpeg), max_pixels=64 * 96 - 1)
    assert read_image(str(jpeg), max_pixels=64 * 96).shape == (64, 96, 3)


@pytest.mark.parametrize("text", ["many", "-3", "1e6"])
def test_a_limit_that_is_no_number(monkeypatch, text):
    monkeypatch.setenv("PERSON_SEARCH_MAX_PIXELS", text)
    with pytest.raises(ConfigError, match="MAX_PIXELS is .*: give a number of pixels"):
        images._max_pixels()


def test_what_is_no_file_is_not_waited_for(tmp_path):
    pipe, socket_path = tmp_path / "pipe.jpg", tmp_path / "s.jpg"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path))
        kinds = {pipe: "a named pipe", socket_path: "a socket", tmp_path: "a folder"}
        for path, kind in kinds.items():
            for read in (read_image, image_size):
                with pytest.raises(ImageError, match=f"{path}: it is {kind}, not a file"):
                    read(str(path))
    with pytest.raises(ImageError, match="it is a device"):
        read_image("/dev/zero")


def test_a_file_that_is_larger_than_any_picture(tmp_path):
    path = tmp_path / "film.jpg"
    with open(path, "wb") as file:
        file.truncate(8 * images.MAX_PIXELS + 1)  # takes no space on the disk
    with pytest.raises(ImageError, match=r"film.jpg is too large: it has 2\.1 GB, as no"):
        read_image(str(path))


def test_an_error_does_not_steer_the_terminal(tmp_path):
    with pytest.raises(ImageError) as error:
        read_image(str(tmp_path / "a\x1b[2J\u202ej.jpg"))
    assert str(error.value).isprintable() and r"a\x1b[2J\u202ej.jpg" in str(error.value)


def test_heif_without_the_package(tmp_path, monkeypatch):
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(encoded("HEIF", picture()))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"needs the package pillow_heif: pip install .*\[heif\]"):
        read_image(str(path))
