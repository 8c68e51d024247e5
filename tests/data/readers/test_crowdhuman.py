"""CrowdHuman: boxes, ignore regions, the places where copies keep the pictures, and damage."""

import re
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from looks_alike import crowdhuman_row as row
from looks_alike import write_crowdhuman

from person_search.data import PersonSearchMapper, load_train_records
from person_search.data.readers import CROWDHUMAN
from person_search.errors import ConfigError, DatasetError, ImageError
from person_search.evaluation import build_evaluator
from person_search.labels import UNLABELED

# Frames of 64x48. Boxes are x, y, w, h: full body, visible part.
FRAMES = {
    "273271,c9db000d5146c15": [
        row([-10, 5, 30, 40], [0, 5, 20, 30]),
        row([50, 20, 30, 60], [50, 20, 14, 28], extra={"box_id": 1, "occ": 1, "ignore": 0}),
        row([1, 2, 3, 4], extra={"ignore": 1}),
        row([30, 30, 5, 6], tag="mask", extra={"ignore": 1}),
        row([64, 3, 10, 10], [60, 3, 4, 10]),  # all of the body box is outside
        row([-20, -20, 5, 5], tag="mask"),
    ],
    "273278,a": [row([10, 10, 0, 9])],
    "273275,b": [],
}


@pytest.fixture
def crowdhuman(tmp_path) -> Path:
    return write_crowdhuman(tmp_path / "CrowdHuman", "train", FRAMES)


def test_a_record_is_what_was_annotated(crowdhuman):
    first, second, third = CROWDHUMAN.load(crowdhuman, "train").records

    def person(box):
        return {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} | {
            "person_id": UNLABELED
        }

    assert first == {
        "file_name": str(crowdhuman / "Images" / "273271,c9db000d5146c15.jpg"),
        "image_id": "273271,c9db000d5146c15",
        "height": 48,
        "width": 64,
        "camera_id": -1,
        "domain": "CrowdHuman",
        "annotations": [person([-10.0, 5, 20, 45]), person([50.0, 20, 80, 80])],
        "ignore_regions": [[1, 2, 4, 2, 4, 6, 1, 6], [30, 30, 35, 30, 35, 36, 30, 36]],
    }
    assert second["annotations"] == third["annotations"] == third["ignore_regions"] == []


def test_visible_boxes(crowdhuman):
    first, *_ = CROWDHUMAN.load(crowdhuman, "train", boxes="visible").records
    assert [a["bbox"] for a in first["annotations"]] == [
        [0, 5, 20, 35], [50, 20, 64, 48], [60, 3, 64, 13],
    ]  # fmt: skip


def test_training_takes_frames_with_persons_and_clips(crowdhuman, names, tiny_cfg):
    CROWDHUMAN.register("crowdhuman_of_a_test", crowdhuman, "train")
    (record,) = load_train_records(("crowdhuman_of_a_test",))
    cfg = tiny_cfg("INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.RANDOM_FLIP", "none")
    instances = PersonSearchMapper(cfg, True)(record)["instances"]
    assert instances.gt_boxes.tensor.tolist() == [[0, 5, 20, 45], [50, 20, 64, 48]]
    assert instances.gt_person_ids.tolist() == [UNLABELED, UNLABELED]


@pytest.mark.parametrize(
    "images",
    ["Images", "train/Images", "CrowdHuman_train/Images", "CrowdHuman_train02/Images", "train"],
)
def test_where_copies_keep_the_pictures(tmp_path, images):
    root = write_crowdhuman(tmp_path / "crowdhuman", "train", FRAMES, images)
    records = CROWDHUMAN.load(tmp_path, "train").records
    assert {Path(r["file_name"]).parent for r in records} == {root / images}


def test_pictures_in_several_folders(tmp_path):
    parts = list(FRAMES.items())
    root = tmp_path / "CrowdHuman"
    for number, (name, rows) in enumerate(parts, start=1):
        write_crowdhuman(root, "train", {name: rows}, f"CrowdHuman_train0{number}/Images")
    write_crowdhuman(root, "train", FRAMES, "elsewhere")
    assert len(CROWDHUMAN.load(root, "train").records) == 3


@pytest.fixture
def names():
    """Registered as crowdhuman_of_a_test, until the test ends."""
    yield
    DatasetCatalog.pop("crowdhuman_of_a_test", None)
    MetadataCatalog.pop("crowdhuman_of_a_test", None)


def test_registered_for_detection(crowdhuman, names, tiny_cfg):
    CROWDHUMAN.register("crowdhuman_of_a_test", crowdhuman, "val")
    metadata = MetadataCatalog.get("crowdhuman_of_a_test")
    assert (metadata.evaluator_type, metadata.split) == ("detection", "val")
    with pytest.raises(ConfigError, match="has evaluator_type 'detection'.*there are evaluators"):
        build_evaluator(tiny_cfg(), "crowdhuman_of_a_test")
    with pytest.raises(DatasetError, match=r"annotation_val\.odgt"):
        DatasetCatalog.get("crowdhuman_of_a_test")


LINES = "annotation_train.odgt"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", f"{LINES} names no frame"),
        ('{"ID": "a", "gtboxes": []}\n{"ID": "b", "gtbo\n', f"{LINES}, line 2 is damaged"),
        ('{"ID": "a"}', f"{LINES}, line 1 is damaged"),
        ('{"ID": "a", "gtboxes": [{"tag": "person"}]}', f"{LINES}, line 1 is damaged"),
        ('{"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 2]}]}', "line 1 is damaged"),
        (
            '{"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 2, 1e999, 4]}]}',
            f"{LINES}, line 1, box 1: [1.0, 2.0, inf, 4.0] is not a box",
        ),
        ('{"ID": "a", "gtboxes": []}', "1 pictures are missing in"),
    ],
)
def test_damage_gives_one_error_that_names_the_line(crowdhuman, text, message):
    (crowdhuman / LINES).write_text(text)
    with pytest.raises(DatasetError, match=re.escape(message)):
        CROWDHUMAN.load(crowdhuman, "train")


def test_what_else_is_wrong(crowdhuman, tmp_path):
    (crowdhuman / "Images" / "273275,b.jpg").write_text("moved")
    with pytest.raises(ImageError, match="273275,b.jpg is not a readable image"):
        CROWDHUMAN.load(crowdhuman, "train")
    with pytest.raises(DatasetError, match=r"(?s)No CrowdHuman .*Images/.*DETECTRON2_DATASETS"):
        CROWDHUMAN.load(tmp_path / "nowhere", "train")
    with pytest.raises(DatasetError, match="'test'; legal are train, val"):
        CROWDHUMAN.register("crowdhuman_of_a_test", crowdhuman, "test")
    with pytest.raises(DatasetError, match="'head'; legal are full, visible"):
        CROWDHUMAN.register("crowdhuman_of_a_test", crowdhuman, "train", boxes="head")
