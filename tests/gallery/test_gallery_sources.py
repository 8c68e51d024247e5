"""Which files are found, and what is read from every kind of them, sound or broken."""

import struct
import sys
import zlib
from datetime import datetime, timedelta, timezone

import cv2
import numpy as np
import pytest
from PIL import Image

from person_search.errors import GalleryError, ImageError
from person_search.gallery.persons import NO_TIME, to_milliseconds
from person_search.gallery.sources import (
    SourceFile,
    count_frames,
    find_files,
    read_frames,
    read_scene,
    taken,
)
from person_search.images import read_image

pytest.importorskip("av", reason="needs the extra: pip install -e '.[gallery]'")
from films import film, gray  # noqa: E402

NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


def touch(*paths) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(files: list[SourceFile], root) -> list[str]:
    return [f.path.removeprefix(f"{root}/") for f in files]


def test_folders_patterns_and_files(tmp_path):
    touch(
        *(tmp_path / n for n in ("a/2.JPG", "a/1.png", "a/deep/人 ü.mp4", "a/notes.txt", "b.xyz")),
        *(tmp_path / n for n in ("a/.hidden.jpg", "a/.trash/3.jpg")),
    )
    found = find_files([str(tmp_path / "a"), str(tmp_path / "b.xyz"), str(tmp_path / "a/1*")])
    assert names(found, tmp_path) == ["a/1.png", "a/2.JPG", "a/deep/人 ü.mp4", "b.xyz"]
    assert [f.is_video for f in found] == [False, False, True, False]
    assert [f.camera for f in found[:3]] == ["a", "a", "deep"]
    assert names(find_files([str(tmp_path / "**/*.mp4")]), tmp_path) == ["a/deep/人 ü.mp4"]


def test_cameras(tmp_path):
    touch(tmp_path / "yard" / "c3s1_7.jpg")
    path = str(tmp_path / "yard")
    cameras = [
        find_files([path], *how)[0].camera
        for how in ((), ("door",), (None, r"c(\d)s"), (None, r"c\d"), (None, r"d(\d)s"), ("",))
    ]
    assert cameras == ["yard", "door", "3", "c3", "", ""]


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.jpg", "empty"])
def test_a_source_that_names_nothing(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no picture or video in .*: give a file, folder or"):
        find_files([str(tmp_path / source)])


# ---------------------------------------------------------------------------------------- pictures


def test_kinds_of_pictures(tmp_path):
    color = np.zeros((20, 30, 3), np.uint8)
    color[..., 0] = 200
    frames = [Image.fromarray(np.full_like(color, v)) for v in (40, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((20, 30), 257 * 90, np.uint16))
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((20, 30), 91, np.uint8))
    cv2.imwrite(str(tmp_path / "Füße 人.png"), color)
    for name, value in {"moving.gif": 40, "deep.png": 90, "gray.png": 91}.items():
        image = read_image(str(tmp_path / name))
        assert image.shape == (20, 30, 3) and image.dtype == np.uint8
        assert abs(int(image.mean()) - value) <= 1, name
    np.testing.assert_array_equal(read_image(str(tmp_path / "Füße 人.png")), color)


def test_exif_turns_a_picture_and_says_when_it_was_taken(tmp_path):
    path, exif = tmp_path / "phone.jpg", Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    exif.get_ifd(0x8769)[0x9003] = "2026:05:01 12:00:00"
    exif.get_ifd(0x8769)[0x9011] = "+02:00"
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :20] = 255  # the left end comes to the top
    Image.fromarray(image).save(path, exif=exif)
    (frame,) = read_frames(SourceFile(str(path)))
    assert frame.image.shape == (80, 40, 3)
    assert frame.image[:15].mean() > 250 and frame.image[25:].mean() < 5
    assert taken(str(path)) == NOON - timedelta(hours=2)
    assert frame.time == to_milliseconds(NOON - timedelta(hours=2))
    (frame,) = read_frames(SourceFile(str(path)), start=NOON)
    assert frame.time == to_milliseconds(NOON)


def test_a_picture_that_says_not_when_it_was_taken(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    assert taken(str(path)) is None
    assert next(read_frames(SourceFile(str(path)))).time == NO_TIME


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("empty.jpg", b"", "not a readable image"),
        ("text.png", b"no picture", "not a readable image"),
        ("cut.png", png_header(100, 100), "not a readable image"),
        ("bomb.png", png_header(40_000, 40_000), "too large: it has 1600 megapixels"),
    ],
)
def test_broken_pictures(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=said) as error:
        read_image(str(path))
    assert "\n" not in str(error.value) and name in str(error.value)


def test_200_megapixels(tmp_path):
    path = tmp_path / "huge.png"
    image = Image.new("1", (20_000, 10_000))
    image.paste(1, (19_000, 9_000, 20_000, 10_000))
    image.save(path, compress_level=1)
    (frame,) = read_frames(SourceFile(str(path)))
    assert frame.image.shape == (10_000, 20_000, 3) and frame.time == NO_TIME
    assert (frame.image[9_000:, 19_000:] == 255).all() and not frame.image[::50, :19_000:50].any()


def test_when_200_megapixels_were_taken(tmp_path):
    path, exif = tmp_path / "huge.jpg", Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2026:05:01 12:00:00"
    Image.new("RGB", (16, 8)).save(path, exif=exif)
    content = path.read_bytes()
    at = content.index(b"\xff\xc0") + 5  # height and width in the frame's header
    path.write_bytes(content[:at] + struct.pack(">HH", 10_000, 20_000) + content[at + 4 :])
    assert taken(str(path)) == NOON.replace(tzinfo=None)


def test_a_truncated_jpeg(tmp_path, street_frames):
    path = tmp_path / "cut.jpg"
    content = open(street_frames[0], "rb").read()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(str(path))


# ------------------------------------------------------------------------------------------ videos


def test_a_video(tmp_path):
    path = film(tmp_path / "film.mp4", codec="mpeg4", created="2026-05-01T12:00:00Z")
    frames = list(read_frames(SourceFile(str(path)), every=6))
    assert [f.index for f in frames] == [gray(f.image) for f in frames] == [0, 6, 12, 18]
    assert [f.seconds for f in frames] == pytest.approx([0, 0.6, 1.2, 1.8])
    assert [f.time - to_milliseconds(NOON) for f in frames] == [0, 600, 1200, 1800]
    assert count_frames(SourceFile(str(path))) == 20
    assert count_frames(SourceFile(str(path)), every=6) == 3
    moved = next(read_frames(SourceFile(str(path)), start=NOON + timedelta(days=1)))
    assert moved.time == to_milliseconds(NOON + timedelta(days=1))


def test_a_frame_at_a_time(tmp_path):
    path = str(film(tmp_path / "film.mp4", codec="mpeg4"))
    for seconds, frame in ((0, 0), (0.6, 6), (1.7, 17), (99, 19)):
        assert gray(read_scene(path, seconds)) == frame
    for frame in read_frames(SourceFile(path), every=7):
        np.testing.assert_array_equal(read_scene(path, frame.seconds), frame.image)


def test_a_video_that_says_not_when_it_was_made(tmp_path):
    for created in ("", "1970-01-01T00:00:00Z", "1904-01-01T00:00:00Z"):
        path = film(tmp_path / "film.mp4", frames=2, codec="mpeg4", created=created)
        assert next(read_frames(SourceFile(str(path)))).time == NO_TIME


def test_a_video_of_an_upright_phone(tmp_path):
    """The track's matrix says: turn clockwise by 90 degrees; the white corner goes to the right."""
    path = film(tmp_path / "film.mp4", frames=2, codec="mpeg4")
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 16  # version, times and track, layer and volume
    upright = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    content[at : at + 36] = upright
    path.write_bytes(content)
    frame = next(read_frames(SourceFile(str(path))))
    assert frame.image.shape == (96, 64, 3)
    assert frame.image[:12, -12:].mean() > 240 and frame.image[:12, :12].mean() < 15
    assert read_scene(str(path)).shape == (96, 64, 3)


def test_a_broken_tail_costs_the_tail_only(tmp_path):
    path = film(tmp_path / "film.avi")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    found = []
    try:
        found.extend(read_frames(SourceFile(str(path))))
    except ImageError as error:  # some containers end in silence
        assert "breaks off after" in str(error)
    assert 0 < len(found) < 20
    assert [gray(f.image) for f in found] == list(range(len(found)))


def test_a_video_that_breaks_off_says_where(tmp_path, monkeypatch):
    import av

    path = film(tmp_path / "film.mp4", codec="mpeg4")
    decode = av.container.InputContainer.decode

    def broken(container, *args, **kwargs):
        for i, frame in enumerate(decode(container, *args, **kwargs)):
            if i == 15:
                raise av.error.InvalidDataError(1, "Invalid data found")
            yield frame

    class Broken:
        def __init__(self, container):
            self.container = container

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.container.close()

        def __getattr__(self, name):
            return getattr(self.container, name)

        def decode(self, **kwargs):
            return broken(self.container, **kwargs)

    real = av.open
    monkeypatch.setattr(av, "open", lambda path: Broken(real(path)))
    found = []
    with pytest.raises(ImageError, match=r"breaks off after 1\.4 s: Invalid data found"):
        found.extend(read_frames(SourceFile(str(path)), every=5))
    assert [f.index for f in found] == [0, 5, 10]


def test_videos_that_are_none(tmp_path):
    path = tmp_path / "film.mp4"
    for content in (b"", b"text", film(tmp_path / "x.mp4", codec="mpeg4").read_bytes()[:-300]):
        path.write_bytes(content)
        for read in (lambda f: list(read_frames(f)), lambda f: read_scene(f.path, 1.0)):
            with pytest.raises(ImageError, match="is not a readable video") as error:
                read(SourceFile(str(path)))
            assert "\n" not in str(error.value)
        assert count_frames(SourceFile(str(path))) == 1


def test_missing_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(GalleryError, match=r"needs the package av: pip install"):
        next(read_frames(SourceFile(str(tmp_path / "film.mp4"))))
