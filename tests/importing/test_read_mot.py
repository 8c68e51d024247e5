"""MOTChallenge sequences: classes, flags, the first pixel, pictures, and faults with their line."""

from pathlib import Path

import pytest
from looks_alike import GREY, save

from person_search.errors import ConfigError
from person_search.importing import Reading, read_inputs, settle_persons

INFO = "[Sequence]\nname=x\nimDir=img1\nseqLength={}\nimWidth=64\nimHeight=48\nimExt=.png\n"


def write_mot(folder: Path, rows, pictures=("000001.png", "000002.png"), info: str | None = ""):
    for name in pictures:
        save(folder / "img1" / name, GREY)
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    if info is not None:
        (folder / "seqinfo.ini").write_text(info or INFO.format(len(pictures)))
    return folder


def test_rows(tmp_path, read):
    rows = [
        "1,7,1,2,10,20,1,1,0.5",
        "2,7,3,4,10,20,1,1,1",
        "2,8,5,6,10,20,0,1,1",  # flag 0
        "1,9,5,6,10,20,1,7,1",  # a static person
        "1,10,5,6,10,20,1,3,1",  # a car
        "1,12,5,6,10,20,1,13,0",  # a crowd, in MOT20
        "",
        "1, 11, 5.5, 6, 10, 20, 1, -1, -1, -1",  # of the year 2015
        "1,-1,5,6,10,20,1,1,1",  # no track
    ]
    (first, second), reading = read("mot", write_mot(tmp_path / "one", rows))
    assert reading.faults == [] and reading.tally.left_out("boxes") == 1
    assert first.path == str(tmp_path / "one" / "img1" / "000001.png")
    assert (first.camera, first.time, second.time, first.size) == ("one", 1, 2, (48, 64))
    assert [(b.person_id, b.ignore, b.xywh) for b in first.boxes] == [
        (7, False, (0, 1, 10, 20)),
        (None, True, (4, 5, 10, 20)),
        (None, True, (4, 5, 10, 20)),
        (11, False, (4.5, 5, 10, 20)),
        (None, False, (4, 5, 10, 20)),
    ]
    assert [(b.person_id, b.ignore) for b in second.boxes] == [(7, False), (None, True)]
    assert [b.place.what for b in second.boxes] == ["line 2", "line 3"]
    (first, _), _ = read("mot", tmp_path / "one", pixel_origin=0)
    assert first.boxes[0].xywh == (1, 2, 10, 20)


def test_rows_of_2015(tmp_path, read):
    """MOT15: no classes; the last three fields are coordinates of the world."""
    rows = ["1,7,1,2,10,20,1,-1,-1,-1", "2,7,1,2,10,20,0,-1,-1,-1"]
    frames, reading = read("mot", write_mot(tmp_path / "TUD", rows))
    assert reading.faults == []
    assert [(b.person_id, b.ignore) for f in frames for b in f.boxes] == [(7, False), (None, True)]


def test_persons_of_sequences_are_kept_apart(tmp_path):
    row = "1,7,1,2,10,20,1,1,1"
    for name in ("a", "b"):
        write_mot(tmp_path / name, [row])
    how = {"spelling": None, "twice": None}
    for shared, ids in ((None, ["a/7", "b/7"]), (True, [7, 7])):
        reading = Reading()
        groups = read_inputs("mot", [str(tmp_path)], reading)
        apart = settle_persons("mot", groups, reading, shared=shared, **how)
        assert [b.person_id for f in apart for b in f.boxes] == ids and reading.faults == []


def test_export_of_cvat(tmp_path, read):
    """CVAT and Datumaro write labels.txt, and pixels from 0."""
    rows = ["1,1,1,2,10,20,1,1,1.0", "1,2,1,2,10,20,1,2,1.0", "1,3,1,2,10,20,0,2,1.0"]
    folder = write_mot(tmp_path / "task", rows, ("frame_1.PNG",), info=None)
    (folder / "gt" / "labels.txt").write_text("car\nperson\n")
    ((frame,), reading) = read("mot", folder)
    assert reading.faults == [] and frame.size is None
    assert [(b.person_id, b.ignore) for b in frame.boxes] == [(2, False), (None, True)]
    assert frame.boxes[0].xywh == (1, 2, 10, 20)
    _, reading = read("mot", folder, categories=("cat",))
    (fault,) = reading.faults
    assert fault.is_fatal and "no category is called cat; there are car" in fault.message


@pytest.mark.parametrize(
    "pictures, rows, first",
    [
        ((1, 2, 3), (1, 3), 1),
        ((1, 2, 3), (0, 2), 1),  # frames from 0, pictures from 1
        ((0, 1, 2), (1, 3), 0),  # the other way round
        ((101, 102), (101, 102), 101),
    ],
)
def test_numbers_of_frames(tmp_path, read, pictures, rows, first):
    rows = [f"{number},7,1,2,10,20,1,1,1" for number in range(rows[0], rows[-1] + 1)]
    names = [f"{number:06}.png" for number in pictures]
    frames, reading = read("mot", write_mot(tmp_path / "s", rows, names))
    assert reading.faults == [] and [len(f.boxes) for f in frames] == [1] * len(pictures)
    assert frames[0].path.endswith(f"{first:06}.png")


def test_numbers_that_may_be_either(tmp_path, read):
    names = [f"{number:06}.png" for number in range(4)]
    folder = write_mot(tmp_path / "s", ["2,7,1,2,10,20,1,1,1"], names)
    _, reading = read("mot", folder)
    (fault,) = reading.faults
    assert fault.is_fatal and "--first-frame" in fault.message
    frames, reading = read("mot", folder, first_frame=1)
    assert reading.faults == [] and [len(f.boxes) for f in frames] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "row, message",
    [
        ("4,1,1,1,5,5,1,1,1", "frame 4 has no picture"),
        ("1,1,1,1,inf,5,1,1,1", "is not finite"),
        ("1,1,1,1,1e9,5,1,1,1", "larger than any picture"),
        ("1,1,1,1,-5,5,1,1,1", "is empty"),
        ("1,1,1,1,5,5,0.7,1,1", "'0.7' is not a whole number"),
        ("1,1,1,1,5,5", "expected frame, track, x, y, width, height, flag, class, visibility"),
        ("1,x,1,1,5,5,1,1,1", "found '1,x,1,1,5,5,1,1,1'"),
        ("1 1 1 1 5 5 1 1 1", "expected frame, track"),
    ],
)
def test_a_bad_row_is_listed_with_its_line(tmp_path, read, row, message):
    good = "1,7,1,2,10,20,1,1,1"
    folder = write_mot(tmp_path / "s", [good, row, good.replace("7", "8", 1)])
    (frame, _), reading = read("mot", folder)
    assert [b.person_id for b in frame.boxes] == [7, 8]
    (fault,) = reading.faults
    assert fault.place == (folder / "gt" / "gt.txt", "line 2") and message in fault.message


def test_pictures_and_info_that_do_not_fit(tmp_path, read):
    folder = write_mot(tmp_path / "a", [], ("000001.png", "1.png", "cover.png"), INFO.format(9))
    _, reading = read("mot", folder)
    assert [f.message for f in reading.faults] == [
        "a second frame 1",
        "the name has no number of a frame",
        "seqLength is 9, but there are 1 pictures",
    ]
    for name, info in (("b", "imWidth=3"), ("c", "[Sequence]\nimWidth=x\nimHeight=3\n")):
        _, reading = read("mot", write_mot(tmp_path / name, [], info=info))
        fault = reading.faults[0]
        assert fault.is_fatal and fault.place.path.name == "seqinfo.ini"
    _, reading = read("mot", tmp_path / "none")
    assert (
        all(f.is_fatal for f in reading.faults) and len(reading.faults) == 2
    )  # neither pictures nor gt.txt


def test_the_same_recording_for_another_detector(tmp_path):
    for detector in ("DPM", "SDP"):
        write_mot(tmp_path / f"MOT17-02-{detector}", [])
    with pytest.raises(ConfigError, match="MOT17-02-DPM again: take one of them"):
        read_inputs("mot", [str(tmp_path)], Reading())
