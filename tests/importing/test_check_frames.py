"""Checks of frames, whatever they come from: each fault by hand, with its place."""

import os
from pathlib import Path

import pytest
from looks_alike import GREY, save
from PIL import Image

from person_search.importing import Box, Frame, Place, Reading, check_frames
from person_search.importing.naming import keep_apart, name_after, read_from_names


def frame(path="a.png", boxes=(), size=(48, 64), line=1) -> Frame:
    boxes = tuple(
        Box(b[:4], b[4] if len(b) > 4 else None, Place("x", f"line {line + k + 1}"))
        for k, b in enumerate(boxes)
    )
    return Frame(str(path), size, boxes, Place("x", f"line {line}"))


def check(frames, pictures=None):
    reading = Reading()
    return check_frames(frames, reading, pictures), reading.faults


SOMEBODY = (0, 0, 5, 5, 1)


@pytest.mark.parametrize(
    "box, message",
    [
        ((0, 0, 64, 145), "is far larger than the picture of 64x48"),
        ((0.1, 0.2, 0.5, 0.5), "shares of the picture, not pixels"),
        ((64, 1, 5, 5), "lies outside the picture of 64x48"),
        ((-5, 1, 5, 5), "lies outside"),
        ((1, 48, 5, 5), "lies outside"),
        ((1, -9, 5, 5), "lies outside"),
    ],
)
def test_a_bad_box(box, message):
    (found,), (fault,) = check([frame(boxes=[SOMEBODY, box])])
    assert len(found.boxes) == 1 and fault.place.what == "line 3" and message in fault.message


def test_boxes_may_reach_out():
    boxes = [SOMEBODY, (-4, -4, 5, 5), (63, 47, 50, 50)]
    (found,), faults = check([frame(boxes=boxes)])
    assert faults == [] and [b.xywh for b in found.boxes] == [b[:4] for b in boxes]


def test_a_picture_stands_there_once():
    kept, (fault,) = check([frame(boxes=[SOMEBODY]), frame("./a.png", line=7)])
    assert (
        len(kept) == 1
        and str(fault) == "x, line 7: the picture ./a.png stands at x, line 1 already"
    )


def test_a_picture_is_not_there_twice_by_a_link(tmp_path):
    save(tmp_path / "a.png", GREY)
    (tmp_path / "b.png").symlink_to("a.png")
    kept, (fault,) = check([frame(tmp_path / name, [SOMEBODY]) for name in ("a.png", "b.png")])
    assert len(kept) == 1 and "b.png stands at" in fault.message


@pytest.mark.parametrize("pictures", ["decode", "size"])
def test_pictures(tmp_path, pictures):
    for name in ("good.jpg", "small.png", "short.jpg", "unknown.png"):
        save(tmp_path / name, GREY[:40] if name == "small.png" else GREY)
    data = (tmp_path / "short.jpg").read_bytes()
    (tmp_path / "short.jpg").write_bytes(data[: len(data) - 40])
    (tmp_path / "text.jpg").write_text("hello")
    turned = Image.fromarray(GREY)
    turned.getexif()[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    sizes = {"unknown.png": None, "turned.jpg": (64, 48)}
    names = ["good.jpg", "small.png", "short.jpg", "text.jpg", "none.jpg", *sizes]
    frames = [
        frame(tmp_path / n, [SOMEBODY], sizes.get(n, (48, 64)), line=k + 1)
        for k, n in enumerate(names)
    ]
    found, faults = check(frames, pictures)
    kept = {Path(f.path).name: f.size for f in found}
    wrong = {int(f.place.what.removeprefix("line ")): f.message for f in faults}
    assert "is 64x40, but the annotations say 64x48" in wrong[2]
    assert "not a readable image" in wrong[4] and "is missing" in wrong[5]
    if pictures == "decode":
        assert "truncated" in wrong.pop(3)
    expected = {"good.jpg": (48, 64), "unknown.png": (48, 64), "turned.jpg": (64, 48)}
    assert kept.items() >= expected.items() and wrong.keys() == {2, 4, 5}
    assert ("short.jpg" in kept) == (pictures == "size")


def test_what_names_say(tmp_path):
    names = ["door1/t10.png", "door2/t9.png", "door2/x.png"]
    frames = [frame(os.path.join(tmp_path, n), line=k) for k, n in enumerate(names)]
    reading = Reading()
    found = read_from_names(frames, r"(\w+)/", lambda f, c: f._replace(camera=c), reading)
    assert [f.camera for f in found] == ["door1", "door2", "door2"] and reading.faults == []
    found = read_from_names(found, r"/t?(.+)\.", lambda f, t: f._replace(time=float(t)), reading)
    assert [f.time for f in found] == [10, 9]
    read_from_names(found, r"door(1)", lambda f, t: f, reading)
    assert [(f.place.what, f.message) for f in reading.faults] == [
        ("line 2", r"the name door2/x.png has 'x' where '/t?(.+)\\.' expects a number"),
        ("line 1", "the name door2/t9.png does not match 'door(1)'"),
    ]


def test_whose_numbers():
    groups = {"a": [frame(boxes=[SOMEBODY])], "b": [frame("b.png", [SOMEBODY, (9, 9, 5, 5)])]}

    def ids(shared):
        reading = Reading()
        apart = keep_apart(groups, shared, reading)
        frames = [frame for name, frames in apart.items() for frame in name_after(name, frames)]
        return [b.person_id for f in frames for b in f.boxes], reading.faults

    assert ids(True) == ([1, 1, None], [])
    assert ids(False) == (["a/1", "b/1", None], [])
    (fault,) = ids(None)[1]
    assert fault.is_fatal and "--ids shared" in fault.message
    groups["b"] = [frame("b.png", [(0, 0, 5, 5, 2)])]
    assert ids(None) == ([1, 2], [])
