"""Several inputs together: their names, their splits, and what of them is taken."""

import pytest

from person_search.errors import ConfigError
from person_search.importing import Frame, Place, every_nth, place_valid, split_by_inputs
from person_search.importing.importer import distinct_names


def frame(name, camera=None, time=None, split=None):
    return Frame(name, (48, 64), (), Place("x"), camera, time, split)


def test_names_tell_inputs_apart(tmp_path):
    paths = [tmp_path / "a" / "x.json", tmp_path / "b" / "x.json", tmp_path / "b" / "y.json"]
    assert distinct_names(paths) == ["a/x", "b/x", "b/y"]
    assert distinct_names([tmp_path / "x.json", tmp_path / "x.xml"]) == ["x.json", "x.xml"]
    with pytest.raises(ConfigError, match="x.json stands there twice"):
        distinct_names([paths[0], paths[0]])


@pytest.mark.parametrize(
    "names, splits",
    [
        (("train/_annotations.coco", "valid/_annotations.coco"), ("train", "valid")),
        (("instances_train2017", "instances_val2017"), ("train", "valid")),
        (("training", "testing"), ("train", "test")),
    ],
)
def test_inputs_say_their_split(names, splits):
    groups = {name: [frame(name)] for name in names}
    found = split_by_inputs(groups, list(names), valid="test")
    expected = ["test" if split == "valid" else split for split in splits]
    assert [frames[0].split for frames in found.values()] == expected
    if "valid" in splits:
        with pytest.raises(ConfigError, match="1 frames are for validation: say --valid train"):
            split_by_inputs(groups, list(names), valid=None)


def test_an_input_that_says_nothing():
    with pytest.raises(ConfigError, match="the input door does not say whether it is for training"):
        split_by_inputs({"door": [frame("a")]}, ["door.json"], None)


def test_frames_of_validation():
    frames = [frame("a", split="train"), frame("b", split="valid"), frame("c", split="test")]
    assert [f.split for f in place_valid(frames, "train")] == ["train", "train", "test"]
    assert [f.path for f in place_valid(frames, "none")] == ["a", "c"]


def test_every_nth_frame_of_each_camera():
    frames = [frame(f"{c}{t}", c, t) for t in (3, 1, 2, 0) for c in "ab"]
    assert [f.path for f in every_nth(frames, 2)] == ["a2", "b2", "a0", "b0"]
