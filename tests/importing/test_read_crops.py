"""Folders of crops: who is on a picture."""

from pathlib import Path

import pytest
from looks_alike import noise, save

from person_search.importing import read_crops


def read(root: Path, names: list[str], naming: str):
    for name in names:
        save(root / name, noise())
    faults = []
    frames = read_crops([root], faults, naming)
    found = {Path(f.path).relative_to(root).as_posix(): f for f in frames}
    return {n: (f.boxes[0].person_id, f.camera) for n, f in found.items()}, faults


def test_a_folder_for_each_person(tmp_path):
    names = ["3/a.png", "03/b.png", "anna/day/c.png", "-1/d.png", "top.png", "-7/e.png"]
    found, faults = read(tmp_path, names, "folders")
    assert found == {
        "-1/d.png": (None, None), "03/b.png": ("03", None), "3/a.png": (3, None),
        "anna/day/c.png": ("day", None),
    }  # fmt: skip
    assert [f.message for f in faults] == [
        "person_id -7: expected a whole number from 0, a text, or -1 for nobody",
        "lies in no person's folder",
    ]


def test_names_of_market1501(tmp_path):
    names = ["0002_c1s1_000451_03.png", "x/0031_c4.png", "-1_c2_1.png", "0000_c3_1.png", "cat.png"]
    found, (fault,) = read(tmp_path, names, "market1501")
    assert sorted(found.values(), key=str) == [(2, 1), (31, 4), (None, 2), (None, 3)]
    assert Path(fault.place.path).name == "cat.png" and "0002_c1s1" in fault.message


def test_real_names(shared_data):
    faults = []
    frames = read_crops([shared_data / "reid_crops"], faults, "market1501")
    who = [(f.boxes[0].person_id, f.camera) for f in frames]
    assert who == [(22, 6), (27, 2), (32, 6), (48, 1), (65, 6)] and faults == []


def test_nothing(tmp_path):
    found, (fault,) = read(tmp_path, [], "folders")
    assert found == {} and fault.is_fatal


@pytest.mark.parametrize("naming", ["folders", "market1501"])
def test_the_person_fills_the_picture(tmp_path, naming):
    save(tmp_path / "7" / "0007_c1.png", noise())
    (frame,) = read_crops([tmp_path], [], naming)
    assert frame.boxes[0].xywh is None and frame.size is None
