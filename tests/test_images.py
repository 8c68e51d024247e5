"""Decoding of image files: every kind that users have, and every way a file can be broken."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from person_search.errors import ImageError
from person_search.images import read_image

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
