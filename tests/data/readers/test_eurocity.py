"""EuroCity Persons: which objects are persons, which are ignored, and damage."""

import json
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import eurocity_object as obj
from looks_alike import write_eurocity

from person_search.data.readers import EUROCITY
from person_search.errors import DatasetError
from person_search.labels import UNLABELED

FRAMES = {
    "roma/roma_00010": [obj("pedestrian", (1, 2, 3, 4))],
    "amsterdam/amsterdam_00000": [
        obj("pedestrian", (-2, 5, 10, 30), ["occluded>40", "sitting-lying"]),
        obj("pedestrian", (20, 5, 24, 9), ["depiction"]),
        obj("rider", (30, 5, 40, 30), children=[
            obj("bicycle", (30, 15, 42, 34)),
            obj("co-rider", (31, 6, 35, 20)),
        ]),
        obj("person-group-far-away", (50, 1, 60, 4)),
        obj("rider+vehicle-group-far-away", (50, 5, 60, 9)),
        obj("bicycle-group", (1, 40, 9, 47)),
        obj(None, (1, 1, 9, 9), children=[obj("pedestrian", (44, 1, 49, 20))]),
        obj("pedestrian", (7, 7, 7, 9)),  # no area
    ],
    "roma/roma_00002": [],
}  # fmt: skip


@pytest.fixture
def ecp(tmp_path) -> Path:
    return write_eurocity(tmp_path / "ECP", "train", FRAMES)


def polygon(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def test_pedestrians_are_persons_and_riders_and_groups_are_not_background(ecp):
    records = EUROCITY.load(ecp, "train").records
    assert [r["image_id"] for r in records] == ["amsterdam_00000", "roma_00002", "roma_00010"]
    first = records[0]
    assert [a["bbox"] for a in first["annotations"]] == [[-2, 5, 10, 30], [44, 1, 49, 20]]
    assert {a["person_id"] for a in first["annotations"]} == {UNLABELED}
    assert first["ignore_regions"] == [
        polygon(20, 5, 24, 9),
        polygon(30, 5, 40, 30),
        polygon(31, 6, 35, 20),
        polygon(50, 1, 60, 4),
        polygon(50, 5, 60, 9),
    ]
    path = ecp / "day" / "img" / "train" / "amsterdam" / "amsterdam_00000.png"
    assert first["file_name"] == str(path)
    assert (first["height"], first["width"], first["camera_id"]) == (48, 64, -1)
    assert first["domain"] == "EuroCity Persons"
    assert records[1]["annotations"] == records[1]["ignore_regions"] == []


def test_day_and_night_train_and_val(tmp_path):
    root = tmp_path / "ECP"
    for time in ("day", "night"):
        for split in ("train", "val"):
            write_eurocity(root, split, {f"roma/{time}_{split}": []}, time)
            (record,) = EUROCITY.load(tmp_path, split, time=time).records
            assert record["image_id"] == f"{time}_{split}"


def test_registered_for_detection(ecp):
    name = "eurocity_of_a_test"
    EUROCITY.register(name, ecp, "train")
    try:
        metadata = MetadataCatalog.get(name)
        assert (metadata.evaluator_type, metadata.split) == ("detection", "train")
        assert len(DatasetCatalog.get(name)) == 3
        assert metadata.num_person_ids == 0
    finally:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("children"),
        lambda content: content.pop("imagewidth"),
        lambda content: content["children"][0].pop("x1"),
        lambda content: content["children"][0].update(y0="low"),
    ],
)
def test_damage_gives_one_error_that_names_the_file(ecp, change):
    path = ecp / "day" / "labels" / "train" / "roma" / "roma_00010.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"roma_00010\.json is damaged"):
        EUROCITY.load(ecp, "train")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e12])
def test_boxes_that_are_none(ecp, value):
    path = ecp / "day" / "labels" / "train" / "roma" / "roma_00010.json"
    content = json.loads(path.read_text())
    content["children"][0].update(identity="pedestrian", x1=value)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"roma_00010\.json, box 1: .* is not a box"):
        EUROCITY.load(ecp, "train")


def test_what_else_is_wrong(ecp, tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)labels/val holds no labels\. Expected.*img/val/"):
        EUROCITY.load(ecp, "val")
    (ecp / "day" / "img" / "train" / "roma" / "roma_00010.png").unlink()
    with pytest.raises(DatasetError, match=r"1 files are missing .*: roma/roma_00010\.png"):
        EUROCITY.load(ecp, "train")
    with pytest.raises(DatasetError, match=r"(?s)No ECP .*labels/train/.*DETECTRON2_DATASETS"):
        EUROCITY.load(tmp_path / "nowhere", "train")
    with pytest.raises(DatasetError, match="'test'; legal are train, val"):
        EUROCITY.register("eurocity_of_a_test", ecp, "test")
    with pytest.raises(DatasetError, match="'dusk'; legal are day, night"):
        EUROCITY.register("eurocity_of_a_test", ecp, "train", time="dusk")
