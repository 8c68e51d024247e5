"""MOTChallenge sequences: classes, flags, the first pixel, pictures, and faults with their line."""

from pathlib import Path

import pytest
from looks_alike import GREY, save

from person_search.importing import keep_apart, read_mot

INFO = "[Sequence]\nname=x\nimDir=img1\nseqLength={}\nimWidth=64\nimHeight=48\nimExt=.png\n"


def write_mot(folder: Path, rows, pictures=("000001.png", "000002.png"), info: str | None = ""):
    for name in pictures:
        save(folder / "img1" / name, GREY)
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    if info is not None:
        (folder / "seqinfo.ini").write_text(info or INFO.format(len(pictures)))
    return folder


def read(*folders, **kwargs):
    faults = []
    return read_mot(list(folders), faults, **kwargs), faults


def test_rows(tmp_path):
    rows = [
        "1,7,1,2,10,20,1,1,0.5",
        "2,7,3,4,10,20,1,1,1",
        "2,8,5,6,10,20,0,1,1",  # flag 0
        "1,9,5,6,10,20,1,7,1",  # a static person
        "1,10,5,6,10,20,1,3,1",  # a car
        "",
        "1, 11, 5.5, 6, 10, 20, 1, -1, -1, -1",  # of the year 2015
        "1,-1,5,6,10,20,1,1,1",  # no track
    ]
    groups, faults = read(write_mot(tmp_path / "one", rows))
    assert faults == []
    first, second = groups["one"]
    assert first.path == str(tmp_path / "one" / "img1" / "000001.png")
    assert (first.camera, first.time, second.time, first.size) == ("one", 1, 2, (48, 64))
    assert [(b.person_id, b.ignore, b.xywh) for b in first.boxes] == [
        (7, False, (0, 1, 10, 20)),
        (None, True, (4, 5, 10, 20)),
        (11, False, (4.5, 5, 10, 20)),
        (None, False, (4, 5, 10, 20)),
    ]
    assert [(b.person_id, b.ignore) for b in second.boxes] == [(7, False), (None, True)]
    assert [b.place.line for b in second.boxes] == [2, 3]
    groups, _ = read(tmp_path / "one", pixel_origin=0)
    assert groups["one"][0].boxes[0].xywh == (1, 2, 10, 20)


def test_persons_of_sequences_are_kept_apart(tmp_path):
    row = "1,7,1,2,10,20,1,1,1"
    folders = [write_mot(tmp_path / name, [row]) for name in ("a", "b")]
    groups, faults = read(*folders)
    apart = keep_apart(groups, False, faults)
    assert [b.person_id for f in apart for b in f.boxes] == ["a/7", "b/7"]
    together = keep_apart(groups, True, faults)
    assert [b.person_id for f in together for b in f.boxes] == [7, 7]


def test_export_of_cvat(tmp_path):
    rows = ["1,1,1,2,10,20,1,1,1.0", "1,2,1,2,10,20,1,2,1.0", "1,3,1,2,10,20,0,2,1.0"]
    folder = write_mot(tmp_path / "task", rows, ("frame_1.PNG",), info=None)
    (folder / "gt" / "labels.txt").write_text("car\nperson\n")
    groups, faults = read(folder)
    assert faults == [] and groups["task"][0].size is None
    assert [(b.person_id, b.ignore) for b in groups["task"][0].boxes] == [(2, False), (None, True)]
    _, (fault,) = read(folder, category="cat")
    assert fault.is_fatal and "no class is called cat; there are car, person" in fault.message


@pytest.mark.parametrize(
    "row, message",
    [
        ("3,1,1,1,5,5,1,1,1", "frame 3 has no picture"),
        ("1,1,1,1,5,5,0.7,1,1", "flag 0.7: expected 0 or 1"),
        ("1,1,1,1,5,5", "expected frame, track, x, y, width, height, flag, class, visibility"),
        ("1,x,1,1,5,5,1,1,1", "found '1,x,1,1,5,5,1,1,1'"),
        ("1 1 1 1 5 5 1 1 1", "expected frame, track"),
    ],
)
def test_a_bad_row_is_listed_with_its_line(tmp_path, row, message):
    good = "1,7,1,2,10,20,1,1,1"
    groups, (fault,) = read(write_mot(tmp_path / "s", [good, row, good.replace("7", "8", 1)]))
    assert [b.person_id for b in groups["s"][0].boxes] == [7, 8]
    assert fault.place == (tmp_path / "s" / "gt" / "gt.txt", 2) and message in fault.message


def test_pictures_and_info_that_do_not_fit(tmp_path):
    folder = write_mot(tmp_path / "a", [], ("000001.png", "1.png", "cover.png"), INFO.format(9))
    _, faults = read(folder)
    assert [f.message for f in faults] == [
        "a second frame 1",
        "the name has no number of a frame",
        "seqLength is 9, but there are 1 pictures",
    ]
    for name, info in (("b", "imWidth=3"), ("c", "[Sequence]\nimWidth=x\nimHeight=3\n")):
        _, faults = read(write_mot(tmp_path / name, [], info=info))
        assert faults[0].is_fatal and faults[0].place.path.name == "seqinfo.ini"
    _, faults = read(tmp_path / "none")
    assert all(f.is_fatal for f in faults) and len(faults) == 2  # neither pictures nor gt.txt


def test_the_same_recording_for_another_detector(tmp_path):
    folders = [write_mot(tmp_path / f"MOT17-02-{d}", []) for d in ("DPM", "SDP")]
    _, (fault,) = read(*folders)
    assert fault.is_fatal and "MOT17-02-DPM again: take one of them" in fault.message
