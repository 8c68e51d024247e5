"""Which files are found, and what is read from every kind of them, sound or broken."""

import os
import struct
import zlib
from datetime import datetime, timedelta, timezone

import cv2
import numpy as np
import pytest
from PIL import Image

from person_search.errors import ImageError
from person_search.gallery.persons import NO_TIME, to_milliseconds
from person_search.gallery.sources import (
    FoundFiles,
    SourceFile,
    count_frames,
    find_files,
    frame_size,
    read_frames,
    read_scene,
    taken,
)
from person_search.images import read_image

pytest.importorskip("av", reason="needs the extra: pip install -e '.[gallery]'")
from films import film, number  # noqa: E402

NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


def touch(*paths) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(found: FoundFiles, root) -> list[str]:
    return [f.path.removeprefix(f"{root}/") for f in found.files]


def test_folders_patterns_and_files(tmp_path):
    touch(
        *(tmp_path / n for n in ("a/2.JPG", "a/1.png", "a/deep/人 ü.mp4", "a/notes.txt", "b.xyz")),
        *(tmp_path / n for n in ("a/.hidden.jpg", "a/.trash/3.jpg")),
    )
    found = find_files([str(tmp_path / "a"), str(tmp_path / "b.xyz"), str(tmp_path / "a/1*")])
    assert names(found, tmp_path) == ["a/1.png", "a/2.JPG", "a/deep/人 ü.mp4", "b.xyz"]
    assert [f.is_video for f in found.files] == [False, False, True, False]
    assert [f.camera for f in found.files[:3]] == ["a", "a", "deep"]
    assert names(find_files([str(tmp_path / "**/*.mp4")]), tmp_path) == ["a/deep/人 ü.mp4"]


def test_cameras(tmp_path):
    touch(tmp_path / "yard" / "c3s1_7.jpg")
    path = str(tmp_path / "yard")
    cameras = [
        find_files([path], *how).files[0].camera
        for how in ((), ("door",), (None, r"c(\d)s"), (None, r"c\d"), (None, r"d(\d)s"), ("",))
    ]
    assert cameras == ["yard", "door", "3", "c3", "", ""]


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.jpg", "empty"])
def test_a_source_that_names_nothing(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no picture or video in .*: give a file, folder or"):
        find_files([str(tmp_path / source)])


def lines(found: FoundFiles) -> list[str]:
    """The table of what was left out, with single spaces."""
    return [" ".join(line.split()) for line in str(found.tally).splitlines()[1:]]


def test_what_is_no_picture_is_counted_by_its_suffix(tmp_path):
    touch(
        *(tmp_path / "a" / n for n in "1.jpg 2.HEIC 3.jfif 4.3gp x.txt y.TXT README .x.jpg".split())
    )
    touch(tmp_path / "a/.git/x.jpg")
    found = find_files([str(tmp_path / "a")])
    assert names(found, tmp_path) == ["a/1.jpg", "a/2.HEIC", "a/3.jfif", "a/4.3gp"]
    assert lines(found) == [
        f"folders 0 1 hidden ({tmp_path}/a/.git)",
        f"files 0 1 hidden ({tmp_path}/a/.x.jpg)",
        f"1 no suffix ({tmp_path}/a/README)",
        f"2 suffix .txt ({tmp_path}/a/x.txt)",
    ]


def test_links_are_followed_once(tmp_path):
    touch(*(tmp_path / n for n in ("disk/cam1/1.jpg", "site/cam2/2.jpg", "site/cam2/3.jpg")))
    (tmp_path / "site/cam1").symlink_to("../disk/cam1")
    (tmp_path / "site/cam2/up").symlink_to("..")
    (tmp_path / "site/cam2/top").symlink_to("../..")
    (tmp_path / "site/cam2/me").symlink_to("me")
    (tmp_path / "site/cam3").symlink_to("cam2")
    (tmp_path / "site/cam2/4.jpg").symlink_to("2.jpg")
    (tmp_path / "site/cam2/5.jpg").hardlink_to(tmp_path / "site/cam2/3.jpg")
    found = find_files(
        [str(tmp_path / "site"), str(tmp_path / "site/cam1"), str(tmp_path / "site")]
    )
    assert names(found, tmp_path) == ["site/cam1/1.jpg", "site/cam2/2.jpg", "site/cam2/3.jpg"]
    assert [f.camera for f in found.files] == ["cam1", "cam2", "cam2"]
    site = tmp_path / "site"
    assert lines(found) == [
        f"pictures 0 2 another name of a file above ({site}/cam2/4.jpg is {site}/cam2/2.jpg)",
        f"files 0 1 no suffix ({site}/cam2/me)",
        f"folders 0 1 a link to a folder above ({site}/cam2/top)",
        f"2 another name of a folder above ({site}/cam2/up is {site})",
    ]


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    touch(tmp_path / "a/1.jpg", tmp_path / "closed/2.jpg", tmp_path / "z/3.jpg")
    scan = os.scandir

    def closed(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", closed)
    found = find_files([str(tmp_path)])
    assert names(found, tmp_path) == ["a/1.jpg", "z/3.jpg"]
    reason = f"{tmp_path}/closed cannot be listed: Permission denied"
    assert found.problems == [(f"{tmp_path}/closed", reason)]
    with pytest.raises(ImageError, match="no picture or video in .*cannot be listed: Permission"):
        find_files([str(tmp_path / "closed")])


def test_a_pattern_that_names_folders(tmp_path):
    touch(*(tmp_path / n for n in ("a/1.jpg", "b/deep/2.jpg", "c.txt", "d.jpg")))
    found = find_files([str(tmp_path / "*")])
    assert names(found, tmp_path) == ["a/1.jpg", "b/deep/2.jpg", "d.jpg"]
    assert lines(found) == [f"files 0 1 suffix .txt ({tmp_path}/c.txt)"]


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


# ------------------------------------------------------------------------------------------- films


def test_a_film(tmp_path):
    path = film(tmp_path / "film.mp4", codec="mpeg4", created="2026-05-01T12:00:00Z")
    frames = list(read_frames(SourceFile(str(path)), every=6))
    assert [f.index for f in frames] == [number(f.image) for f in frames] == [0, 6, 12, 18]
    assert [f.seconds for f in frames] == pytest.approx([0, 0.6, 1.2, 1.8])
    assert [f.time - to_milliseconds(NOON) for f in frames] == [0, 600, 1200, 1800]
    assert count_frames(SourceFile(str(path))) == 20
    assert count_frames(SourceFile(str(path)), every=6) == 3
    assert frame_size(SourceFile(str(path))) == (64, 96)
    moved = next(read_frames(SourceFile(str(path)), start=NOON + timedelta(days=1)))
    assert moved.time == to_milliseconds(NOON + timedelta(days=1))
    for frame in frames:
        np.testing.assert_array_equal(read_scene(str(path), frame.seconds), frame.image)


def test_times_are_those_of_the_start_and_not_of_the_clock(tmp_path):
    path = film(tmp_path / "film.ts", codec="mpeg2video", muxing={"output_ts_offset": "3600"})
    frames = list(read_frames(SourceFile(str(path)), start=NOON))
    assert frames[0].time == to_milliseconds(NOON) and frames[0].seconds == 0
    assert frames[10].time == to_milliseconds(NOON) + 1000


def test_a_film_that_says_not_when_it_was_made(tmp_path):
    for created in ("", "1970-01-01T00:00:00Z", "1904-01-01T00:00:00Z"):
        path = film(tmp_path / "film.mp4", frames=2, codec="mpeg4", created=created)
        assert next(read_frames(SourceFile(str(path)))).time == NO_TIME


def test_a_damaged_film_says_so_after_its_sound_frames(tmp_path):
    path, found = film(tmp_path / "film.mov"), []
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content)) if content[i : i + 3] == b"\xff\xd8\xff"]
    content[starts[7] : starts[8]] = bytes(starts[8] - starts[7])
    path.write_bytes(content)
    with pytest.raises(ImageError, match="film.mov is damaged: 1 of its packets, whose frames"):
        found.extend(read_frames(SourceFile(str(path))))
    assert len(found) == 19


def test_what_is_to_be_known_about_a_film(tmp_path):
    path = film(tmp_path / "film.h264", codec="libx264")
    remarks: list[str] = []
    list(read_frames(SourceFile(str(path)), remarks=remarks))
    assert remarks == [f"{path} stores no times: 25 frames make a second"]


def test_what_is_no_film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"text")
    for read in (lambda f: list(read_frames(f)), lambda f: read_scene(f.path, 1.0), frame_size):
        with pytest.raises(ImageError, match="is not a readable video"):
            read(SourceFile(str(path)))
    assert count_frames(SourceFile(str(path))) == 1
