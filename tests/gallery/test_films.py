"""Films: whatever stores them, a frame that is read again by its second is the same frame."""

import random
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

from person_search.errors import GalleryError, ImageError

av = pytest.importorskip("av", reason="needs the extra: pip install -e '.[gallery]'")
import films  # noqa: E402
from films import film, number  # noqa: E402

from person_search.gallery.films import Film  # noqa: E402

OPEN_GOP = {"bf": "3", "g": "12", "preset": "ultrafast", "x264-params": "open-gop=1:log-level=none"}
INTRA_REFRESH = {"x264-params": "intra-refresh=1:keyint=15:log-level=none", "preset": "ultrafast"}
HEVC = {"preset": "ultrafast", "x265-params": "open-gop=1:keyint=12:bframes=3:log-level=none"}
B_FRAMES = {"bf": "2", "g": "12"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "20"}
AV1 = {"preset": "8", "crf": "20", "g": "20"}

KINDS = [
    *((suffix, "libx264", OPEN_GOP) for suffix in "mp4 mov mkv avi ts mts flv 3gp h264".split()),
    *((suffix, "libx264", INTRA_REFRESH) for suffix in ("mp4", "ts")),
    *((suffix, "libx265", HEVC) for suffix in "mp4 mkv ts hevc".split()),
    *((suffix, "mpeg2video", B_FRAMES) for suffix in "mpg ts mkv vob m2v".split()),
    *((suffix, "mpeg4", B_FRAMES) for suffix in "avi mp4".split()),
    *((suffix, "mjpeg", {}) for suffix in "avi mov mkv mjpeg".split()),
    *((suffix, "libvpx-vp9", VP9) for suffix in "webm mkv".split()),
    ("mpg", "mpeg1video", B_FRAMES),
    ("wmv", "wmv2", {}),
    ("asf", "wmv1", {}),
    ("webm", "libsvtav1", AV1),
]
CONTAINERS = {"mts": "mpegts", "wmv": "asf", "m2v": "mpeg2video"}


def all_frames(path) -> list[tuple[int, float, np.ndarray]]:
    with Film(str(path)) as opened:
        return list(opened.frames())


def assert_found_again(path, frames, every: int = 1) -> None:
    """Each frame at its own second, in a film that is opened anew."""
    for index, seconds, image in frames[::every]:
        with Film(str(path)) as opened:
            found = opened.frame_at(seconds)
        assert np.array_equal(found, image), f"{path.name}: frame {index} at {seconds} s"


@pytest.mark.parametrize("suffix, codec, options", KINDS, ids=lambda x: x if type(x) is str else "")
def test_a_frame_is_found_again_by_its_second(tmp_path, suffix, codec, options):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg has no {codec}")
    path = tmp_path / f"film.{suffix}"
    film(path, 40, 25, codec, container=CONTAINERS.get(suffix), options=options)
    frames = all_frames(path)
    assert [index for index, _, _ in frames] == list(range(40))
    assert [number(image) for _, _, image in frames] == list(range(40))
    assert [s for _, s, _ in frames] == pytest.approx([i / 25 for i in range(40)], abs=1e-3)
    assert_found_again(path, frames, every=6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_varying_rate(tmp_path, suffix):
    steps = random.Random(0)
    times = np.cumsum([steps.choice([20, 33, 40, 120]) for _ in range(60)])
    path = film(tmp_path / f"f.{suffix}", 60, 25, "libx264", times=times.tolist(), options=OPEN_GOP)
    frames = all_frames(path)
    expected = (times - times[0]) / 1000
    assert [s for _, s, _ in frames] == pytest.approx(expected.tolist(), abs=1.1e-3)
    assert_found_again(path, frames, every=7)


@pytest.mark.parametrize("offset", ["100", "95420"], ids=["late", "beyond 33 bits"])
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_a_clock_that_begins_anywhere(tmp_path, suffix, offset):
    muxing = {"output_ts_offset": offset}
    path = film(tmp_path / f"f.{suffix}", 40, 25, "libx264", options=OPEN_GOP, muxing=muxing)
    frames = all_frames(path)
    assert [s for _, s, _ in frames] == pytest.approx([i / 25 for i in range(40)], abs=1e-3)
    assert_found_again(path, frames, every=9)


def count_decoded(monkeypatch) -> list[int]:
    """Gets the number of frames that each ``frame_at`` decodes."""
    counts, decode = [], Film._decode

    def counted(film):
        for frame in decode(film):
            counts[-1] += 1
            yield frame

    monkeypatch.setattr(Film, "_decode", counted)
    return counts


@pytest.mark.parametrize(
    "suffix, codec, options",
    [("mp4", "libx264", OPEN_GOP), ("ts", "libx264", OPEN_GOP), ("ts", "mpeg2video", B_FRAMES)],
)
def test_a_late_frame_is_found_without_decoding_all_before_it(
    tmp_path, monkeypatch, suffix, codec, options
):
    path = film(tmp_path / f"film.{suffix}", 500, 25, codec, options=options)
    frames = all_frames(path)
    counts = count_decoded(monkeypatch)
    for index, seconds, image in frames[300::45]:
        counts.append(0)
        with Film(str(path)) as opened:
            assert np.array_equal(opened.frame_at(seconds), image), index
    assert max(counts) < 100


def test_seconds_between_frames_and_rounded_ones(tmp_path):
    path = str(film(tmp_path / "film.mp4", codec="libx264", rate=30, options=OPEN_GOP))
    for seconds, expected in ((0.05, 1), (0.0999, 3), (0.1, 3), (0.63, 19), (0.66, 19), (99, 19)):
        with Film(path) as opened:
            assert number(opened.frame_at(seconds)) == expected, seconds
    for seconds in (-1.0, float("nan"), float("inf")):
        with Film(path) as opened, pytest.raises(ImageError, match="has no frame at"):
            opened.frame_at(seconds)


def test_a_film_that_stores_no_times_counts_its_frames(tmp_path):
    path = film(tmp_path / "x.h264", 40, 25, "libx264", options=OPEN_GOP)
    path = path.rename(tmp_path / "recorder.mp4")
    with Film(str(path)) as opened:
        assert opened.remarks == ["stores no times: 25 frames make a second"]


def test_two_recordings_in_one_file(tmp_path):
    path = film(tmp_path / "one.ts", 40, 25, "libx264", options=OPEN_GOP)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(path.read_bytes() * 2)
    frames = all_frames(joined)
    assert [number(image) for _, _, image in frames] == [*range(40)] * 2
    assert [s for _, s, _ in frames] == pytest.approx([i / 25 for i in range(80)], abs=1e-3)
    assert_found_again(joined, frames, every=11)


def test_times_that_stand_still_or_fall_back():
    """0, 40, 40, 20 ms: two frames share a time; 9960, 0, 40 ms: the clock began anew."""

    class Stored:
        time_base = Fraction(1, 1000)

        def __init__(self, pts):
            self.pts = pts

    opened = Film.__new__(Film)
    opened._rate, opened._is_counted = Fraction(25), False
    for stored, seconds in (
        ([0, 40, 40, 120], [0, 0.04, 0.0401, 0.12]),
        ([0, 40, 20, 80], [0, 0.04, 0.0401, 0.08]),
        ([5000, 14960, 5000, 5040, None], [0, 9.96, 10, 10.04, 10.08]),
    ):
        opened._decode = lambda stored=stored: map(Stored, stored)
        assert [s for _, s, _ in opened._timed()] == pytest.approx(seconds)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_thumbnail_that_comes_first(tmp_path, suffix):
    path = film(tmp_path / f"film.{suffix}", 20, 25, "libx264", options=OPEN_GOP, thumbnail=True)
    frames = all_frames(path)
    assert [number(image) for _, _, image in frames] == list(range(20))
    assert_found_again(path, frames, every=6)


DAMAGED = [
    ("mp4", "libx264", OPEN_GOP),
    ("ts", "libx264", OPEN_GOP),
    ("ts", "libx265", HEVC),
    ("mpg", "mpeg2video", B_FRAMES),
    ("avi", "mjpeg", {}),
    ("mkv", "libvpx-vp9", VP9),
]


@pytest.mark.parametrize("suffix, codec, options", DAMAGED)
def test_damage_costs_its_frames_and_not_the_rest(tmp_path, suffix, codec, options):
    path = film(tmp_path / f"film.{suffix}", 120, 25, codec, options=options)
    content, noise = bytearray(path.read_bytes()), random.Random(3)
    middle = len(content) // 2
    content[middle : middle + 40] = noise.randbytes(40)
    path.write_bytes(content)
    with Film(str(path)) as opened:
        frames = list(opened.frames())
        is_said = opened.damaged or opened.remarks
    # Damage to the structure of Matroska, not to a frame, costs up to five seconds.
    assert (70 if suffix == "mkv" else 115) <= len(frames)
    assert len(frames) == 120 or is_said
    shown = {round(seconds * 25): number(image) for _, seconds, image in frames}
    assert all(shown[i] == i for i in (*range(40), *range(110, 120)))  # before it, and after it
    assert_found_again(path, frames, every=13)


def test_a_packet_that_cannot_be_decoded_is_counted(tmp_path):
    path = film(tmp_path / "film.mov", 20, 10)
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content)) if content[i : i + 3] == b"\xff\xd8\xff"]
    content[starts[7] : starts[8]] = bytes(starts[8] - starts[7])
    path.write_bytes(content)
    with Film(str(path)) as opened:
        frames = list(opened.frames())
        assert opened.damaged == 1
    assert [number(image) for _, _, image in frames] == [i for i in range(20) if i != 7]
    assert [s for _, s, _ in frames] == pytest.approx([i / 10 for i in range(20) if i != 7])
    assert_found_again(path, frames, every=3)


@pytest.mark.parametrize("suffix", ["mov", "avi"])
def test_a_broken_tail_costs_the_tail_only(tmp_path, suffix):
    muxing = {"movflags": "faststart"} if suffix == "mov" else {}
    path = film(tmp_path / f"film.{suffix}", muxing=muxing)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    found = []
    try:
        with Film(str(path)) as opened:
            found.extend(opened.frames())
    except ImageError as error:  # some containers end in silence
        assert "breaks off near" in str(error)
    assert 5 < len(found) < 20
    assert [number(image) for _, _, image in found] == list(range(len(found)))


def test_a_film_of_an_upright_phone(tmp_path):
    """The track's matrix says: turn clockwise by 90 degrees; the white corner goes to the right."""
    path = film(tmp_path / "film.mp4", 120, 25, "libx264", options=OPEN_GOP)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 16  # version, times and track, layer and volume
    content[at : at + 36] = struct.pack(
        ">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30
    )
    path.write_bytes(content)
    frames = all_frames(path)
    image = frames[0][2]
    assert image.shape == (96, 64, 3)
    assert image[:12, -12:].mean() > 240 and image[:12, :12].mean() < 60
    assert_found_again(path, frames, every=37)


def test_what_is_no_film(tmp_path):
    path = tmp_path / "film.mp4"
    for content in (b"", b"text", film(tmp_path / "x.mp4", codec="mpeg4").read_bytes()[:-300]):
        path.write_bytes(content)
        with pytest.raises(ImageError, match="film.mp4 is not a readable video") as error:
            all_frames(path)
        assert "\n" not in str(error.value)


def test_sound_alone(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        output.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(ImageError, match="song.mp4 has no moving pictures"):
        Film(str(path))


def test_a_play_list_opens_nothing(tmp_path):
    """An .mp4 that is a list of other files, which FFmpeg would open."""
    secret = film(tmp_path / "secret.ts", 20, 10, "mpeg2video")
    path = tmp_path / "film.mp4"
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret.name}\n",
    ):
        path.write_text(text)
        with pytest.raises(ImageError, match="film.mp4 is not a readable video"):
            Film(str(path))


def test_frames_of_too_many_pixels(tmp_path, monkeypatch):
    from person_search.gallery import films as module

    path = film(tmp_path / "film.mp4", codec="mpeg4")
    monkeypatch.setattr(module, "MAX_PIXELS", films.WIDTH * films.HEIGHT - 1)
    with pytest.raises(ImageError, match="film.mp4 is too large: its frames have 0 megapixels"):
        Film(str(path))


def test_metadata_that_is_not_unicode(tmp_path):
    path = film(tmp_path / "film.mkv", codec="mpeg4", created="2026-05-01T12:00:00Z")
    content = path.read_bytes()
    with av.open(str(path)) as opened:
        assert opened.metadata["ENCODER"] in content.decode("latin1")
        encoder = opened.metadata["ENCODER"].encode()
    path.write_bytes(content.replace(encoder, b"\xff\xfe" + encoder[2:]))
    with Film(str(path)) as opened:
        assert len(list(opened.frames())) == 20


def test_missing_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(GalleryError, match="needs the package av: pip install .*gallery"):
        Film(str(tmp_path / "film.mp4"))
