"""MOT17Det: classes, flags and pixels of its rows; real ones where they are."""

import re

import pytest
from looks_alike import write_mot17det

from person_search.data.readers import MOT17DET
from person_search.errors import DatasetError
from person_search.labels import UNLABELED

ROWS = [
    "7,1,2,10,20,1,1,0.5",
    "8,11,2,10,20,0,1,1",  # flag 0
    "9,21,2,10,20,0,7,1",  # a static person
    "10,31,2,10,20,0,3,1",  # a car
    "11,-20,2,10,20,1,1,1",  # outside of the frame
]


@pytest.fixture
def mot(tmp_path):
    return write_mot17det(
        tmp_path / "MOT17Det", {"MOT17-02": {1: ROWS, 2: []}, "MOT17-04": {1: ROWS[:1]}}
    )


def test_frames(mot):
    first, second, third = MOT17DET.load(mot.parent).records
    assert [r["image_id"] for r in (first, second, third)] == [
        "MOT17-02/000001", "MOT17-02/000002", "MOT17-04/000001",
    ]  # fmt: skip
    assert [r["camera_id"] for r in (first, second, third)] == [2, 2, 4]
    # Pixels are counted from 1: 1, 2 is the point 0, 1.
    assert [(a["bbox"], a["person_id"]) for a in first["annotations"]] == [
        ([0, 1, 10, 21], UNLABELED)
    ]
    assert [region[:2] for region in first["ignore_regions"]] == [[10, 1], [20, 1]]
    assert second["annotations"] == [] and second["ignore_regions"] == []


def test_of_three_detectors_one_is_read(tmp_path):
    root = write_mot17det(
        tmp_path / "MOT17", {f"MOT17-02-{d}": {1: ROWS} for d in ("DPM", "FRCNN", "SDP")}
    )
    assert [r["image_id"] for r in MOT17DET.load(root).records] == ["MOT17-02/000001"]


@pytest.mark.parametrize(
    "row, message",
    [
        ("1,7,1,2,0,20,1,1,1", "gt.txt, row 2: x, y, w, h = [1.0, 2.0, 0.0, 20.0] is not a box"),
        ("1,7,1,2,inf,20,1,1,1", "is not a box"),
        ("1,7,1,2,1e9,20,1,1,1", "is not a box"),
        ("1,7,1,2", "gt.txt is damaged"),
        ("1,7,one,2,3,4,1,1,1", "gt.txt is damaged"),
        ("9,7,1,2,3,4,1,1,1", "lacks the pictures of 1 frames that gt.txt names; the first is 9"),
    ],
)
def test_bad_rows(tmp_path, row, message):
    root = write_mot17det(tmp_path / "MOT17Det", {"MOT17-02": {1: ROWS[:1]}})
    path = root / "train" / "MOT17-02" / "gt" / "gt.txt"
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(DatasetError, match=re.escape(message)):
        MOT17DET.load(root)


def test_what_is_missing(tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)No MOT17Det .*img1/.*DETECTRON2_DATASETS"):
        MOT17DET.load(tmp_path)
    (tmp_path / "MOT17Det").mkdir()
    with pytest.raises(DatasetError, match="train holds no sequence"):
        MOT17DET.load(tmp_path)
