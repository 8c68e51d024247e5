"""WIDER Pedestrian: both editions, regions to ignore, and lines that are of the other one."""

import re

import pytest
from looks_alike import write_wider

from person_search.data.readers import WIDER_PEDESTRIAN
from person_search.errors import DatasetError


def test_edition_of_2019(tmp_path):
    lines = {
        "train_bbox.txt": {"ad00001.jpg": [1, 2, 10, 20, 30, 2, 5, 6], "sur00002.jpg": []},
        "ignore_part_train.txt": {"ad00001.jpg": [40, 5, 10, 10]},
    }
    root = write_wider(tmp_path / "WIDER_Pedestrian", lines)
    first, second = WIDER_PEDESTRIAN.load(tmp_path).records
    assert first["file_name"] == str(root / "ad_train" / "ad00001.jpg")
    assert [a["bbox"] for a in first["annotations"]] == [[1, 2, 11, 22], [30, 2, 35, 8]]
    assert first["ignore_regions"] == [[40, 5, 50, 5, 50, 15, 40, 15]]
    assert (second["annotations"], second["ignore_regions"]) == ([], [])


def test_edition_of_2018(tmp_path):
    lines = {"val_annotations.txt": {"img00001.jpg": [1, 1, 2, 10, 20, 2, 30, 2, 5, 6]}}
    write_wider(tmp_path / "WIDER_Pedestrian", lines, "val")
    (record,) = WIDER_PEDESTRIAN.load(tmp_path, "val", edition="2018").records
    assert [a["bbox"] for a in record["annotations"]] == [[1, 2, 11, 22]]
    assert record["ignore_regions"] == [[30, 2, 35, 2, 35, 8, 30, 8]]  # a cyclist


@pytest.mark.parametrize(
    "text, message",
    [
        ("a.jpg 1 1 2 10 20\n", "line 1: 5 numbers after the name, not 4 for each box"),
        ("a.jpg 1 1 0 10\n", "line 1, box 1: x, y, w, h = [1.0, 1.0, 0.0, 10.0] is not a box"),
        ("a.jpg 1 1 inf 10\n", "is not a box"),
        ("a.jpg 1 one 2 10\n", "line 1 is damaged"),
        ("a.jpg\na.jpg\n", "line 2: the picture a.jpg stands there twice"),
        ("b.jpg\n", "1 pictures are missing"),
        ("\n", "names no picture"),
    ],
)
def test_bad_lines(tmp_path, text, message):
    root = write_wider(tmp_path / "WIDER_Pedestrian", {"train_bbox.txt": {"a.jpg": []}})
    (root / "train_bbox.txt").write_text(text)
    with pytest.raises(DatasetError, match=re.escape(message)):
        WIDER_PEDESTRIAN.load(root)


def test_a_name_that_is_there_twice(tmp_path):
    root = write_wider(tmp_path / "WIDER_Pedestrian", {"train_bbox.txt": {"a.jpg": []}})
    write_wider(root, {"train_bbox.txt": {"a.jpg": []}}, "sur_train")
    with pytest.raises(DatasetError, match="holds a.jpg twice"):
        WIDER_PEDESTRIAN.load(root)


def test_the_tree_is_shown(tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)No WIDER_Pedestrian .*ad_train/.*DETECTRON2"):
        WIDER_PEDESTRIAN.load(tmp_path)
