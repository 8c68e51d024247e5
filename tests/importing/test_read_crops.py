"""Folders of crops: who is on a picture."""

from pathlib import Path

import pytest
from looks_alike import noise, save


@pytest.fixture
def crops(tmp_path, read):
    """Writes pictures and reads them: name -> (person, camera)."""

    def call(names, naming="folders"):
        for name in names:
            save(tmp_path / name, noise())
        frames, reading = read("crops", tmp_path, names=naming)
        found = {Path(f.path).relative_to(tmp_path).as_posix(): f for f in frames}
        return {n: (f.boxes[0].person_id, f.camera) for n, f in found.items()}, reading

    return call


def test_a_folder_for_each_person(crops):
    found, reading = crops(["3/a.png", "03/b.png", "-1/d.png", "top.png", "-7/e.png"])
    assert found == {
        "-1/d.png": (None, None), "-7/e.png": (None, None), "03/b.png": ("03", None),
        "3/a.png": (3, None),
    }  # fmt: skip
    assert [f.message for f in reading.faults] == ["lies in no person's folder"]


def test_folders_in_folders_are_asked_about(crops):
    """Tracklets of a person, persons of a camera: only the user knows."""
    names = [f"{person}/000{k}/a.png" for person in ("anna", "bob") for k in (1, 2)]
    _, reading = crops(names)
    (fault,) = reading.faults
    assert fault.is_fatal and "--names inner" in fault.message and "0001" in fault.message
    found, reading = crops([], "outer")
    assert {person for person, _ in found.values()} == {"anna", "bob"} and not reading.faults
    found, _ = crops([], "inner")
    assert {person for person, _ in found.values()} == {"0001", "0002"}


def test_names_of_market1501(crops):
    names = ["0002_c1s1_000451_03.png", "x/0031_c4.png", "-1_c2_1.png", "0000_c3_1.png", "cat.png"]
    found, reading = crops(names, "market1501")
    assert sorted(found.values(), key=str) == [(2, 1), (31, 4), (None, 2), (None, 3)]
    (fault,) = reading.faults
    assert Path(fault.place.path).name == "cat.png" and "0002_c1s1" in fault.message


def test_real_names(shared_data, read):
    frames, reading = read("crops", shared_data / "reid_crops", names="market1501")
    who = [(f.boxes[0].person_id, f.camera) for f in frames]
    assert who == [(22, 6), (27, 2), (32, 6), (48, 1), (65, 6)] and reading.faults == []


def test_nothing(crops):
    found, reading = crops([])
    assert found == {} and reading.faults[0].is_fatal


def test_a_folder_that_cannot_be_listed(tmp_path, read):
    frames, reading = read("crops", tmp_path / "none")
    assert frames == [] and "cannot be listed" in reading.faults[0].message


@pytest.mark.parametrize("naming", ["folders", "market1501"])
def test_the_person_fills_the_picture(tmp_path, read, naming):
    save(tmp_path / "7" / "0007_c1.png", noise())
    (frame,), _ = read("crops", tmp_path, names=naming)
    assert frame.boxes[0].xywh is None and frame.size is None


def test_other_suffixes_are_counted(tmp_path, crops):
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "IMG_1.DNG").write_bytes(b"x")
    _, reading = crops(["anna/a.png"])
    assert "1  suffix .dng" in str(reading.tally)


def test_linked_folders_are_taken_once(tmp_path, crops):
    save(tmp_path / "disk" / "x.png", noise())
    root = tmp_path / "people"
    root.mkdir()
    (root / "anna").symlink_to("../disk")
    (root / "up").symlink_to("..")
    found, reading = crops(["people/bob/b.png"], "inner")
    assert sorted(found) == ["disk/x.png", "people/anna/x.png", "people/bob/b.png"]
