"""Checks of frames, whatever they come from: each fault by hand, with its place."""

import os
from pathlib import Path

import pytest
from looks_alike import GREY, save
from PIL import Image

from person_search.importing import Box, Frame, Place, check_frames
from person_search.importing.naming import keep_apart, read_from_names


def frame(path="a.png", boxes=(), size=(48, 64), line=1) -> Frame:
    boxes = tuple(
        Box(b[:4], b[4] if len(b) > 4 else None, Place("x", line + k + 1))
        for k, b in enumerate(boxes)
    )
    return Frame(str(path), size, boxes, Place("x", line))


def check(frames, pictures=None):
    faults = []
    return check_frames(frames, faults, pictures), faults


SOMEBODY = (0, 0, 5, 5, 1)


@pytest.mark.parametrize(
    "box, message",
    [
        ((1, 1, float("nan"), 5), "is not finite"),
        ((float("inf"), 1, 5, 5), "is not finite"),
        ((1, 1, 0, 5), "1, 1, 0, 5 is empty"),
        ((1, 1, 5, -5), "is empty"),
        ((0.1, 0.2, 0.5, 0.5), "shares of the picture, not pixels"),
        ((64, 1, 5, 5), "lies outside the picture of 64x48"),
        ((-5, 1, 5, 5), "lies outside"),
        ((1, 48, 5, 5), "lies outside"),
        ((1, -9, 5, 5), "lies outside"),
    ],
)
def test_a_bad_box(box, message):
    (found,), (fault,) = check([frame(boxes=[SOMEBODY, box])])
    assert len(found.boxes) == 1 and fault.place.line == 3 and message in fault.message


def test_boxes_may_reach_out():
    boxes = [SOMEBODY, (-4, -4, 5, 5), (63, 47, 50, 50)]
    (found,), faults = check([frame(boxes=boxes)])
    assert faults == [] and [b.xywh for b in found.boxes] == [b[:4] for b in boxes]


def test_nobody_is_twice_in_a_frame():
    boxes = [SOMEBODY, (9, 9, 5, 5, 1), (20, 9, 5, 5), (30, 9, 5, 5)]
    (found,), (fault,) = check([frame(boxes=boxes)])
    assert [b.person_id for b in found.boxes] == [1, None, None]
    assert str(fault) == "x:3: person 1 a second time in a.png, after x:2"
    ignored = frame(boxes=[SOMEBODY])
    again = ignored.boxes[0]._replace(ignore=True)
    assert check([ignored._replace(boxes=(*ignored.boxes, again))])[1] == []


def test_a_picture_stands_there_once():
    kept, (fault,) = check([frame(boxes=[SOMEBODY]), frame("./a.png", line=7)])
    assert len(kept) == 1 and str(fault) == "x:7: the picture ./a.png stands at x:1 already"


def test_numbers_and_texts():
    other = frame("b.png", [(0, 0, 5, 5, "1")], line=9)
    _, (fault,) = check([frame(boxes=[SOMEBODY]), other])
    assert fault.is_fatal
    assert str(fault) == "x:2: person 1 is a number here, and a text at x:10"


def test_somebody_has_to_be_known():
    _, (fault,) = check([frame(boxes=[(0, 0, 5, 5)])])
    assert fault.is_fatal and "no box of any frame has a person_id" in fault.message
    assert check([])[1] == []


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
    wrong = {f.place.line: f.message for f in faults}
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
    faults = []
    found = read_from_names(frames, r"(\w+)/", lambda f, c: f._replace(camera=c), faults)
    assert [f.camera for f in found] == ["door1", "door2", "door2"] and faults == []
    found = read_from_names(found, r"/t?(.+)\.", lambda f, t: f._replace(time=float(t)), faults)
    assert [f.time for f in found] == [10, 9]
    read_from_names(found, r"door(1)", lambda f, t: f, faults)
    assert [(f.place.line, f.message) for f in faults] == [
        (2, r"the name door2/x.png has 'x' where '/t?(.+)\\.' expects a number"),
        (1, "the name door2/t9.png does not match 'door(1)'"),
    ]


def test_whose_numbers():
    groups = {"a": [frame(boxes=[SOMEBODY])], "b": [frame("b.png", [SOMEBODY, (9, 9, 5, 5)])]}

    def ids(shared):
        faults = []
        frames = keep_apart(groups, shared, faults)
        return [b.person_id for f in frames for b in f.boxes], faults

    assert ids(True) == ([1, 1, None], [])
    assert ids(False) == (["a/1", "b/1", None], [])
    (fault,) = ids(None)[1]
    assert fault.is_fatal and "--ids shared" in fault.message
    groups["b"] = [frame("b.png", [(0, 0, 5, 5, 2)])]
    assert ids(None) == ([1, 2], [])
