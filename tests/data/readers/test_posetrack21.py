"""PoseTrack21: frames, ignore regions, queries, its evaluation rule, and damage."""

import re
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import write_posetrack21

from person_search.data import load_train_records
from person_search.data.readers import POSETRACK21
from person_search.errors import DatasetError
from person_search.evaluation import SearchResults, dataset_arrays, evaluate_search
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule


def image(name: str, number: int, **more) -> dict:
    return {"file_name": f"images/{name}.jpg", "id": number, **more}


def box(number: int, xywh, person, **more) -> dict:
    return {"image_id": number, "bbox": xywh, "person_id": person, **more}


# Only the first image and box have the optional keys.
VAL = (
    [
        image(
            *("val/a/000000", 100),
            vid_id="a", frame_id=1, is_labeled=True,
            ignore_regions_x=[[1, 9, 9], [20.5, 30, 30, 20]],
            ignore_regions_y=[[2, 2, 8], [0, 0, 5, 5]],
        ),
        image("val/a/000001", 101, ignore_regions_x=[], ignore_regions_y=[]),
        image("val/b/000000", 200),
        image("val/b/000001", 201),
    ],
    [
        box(100, [1.5, 2, 10, 20.25], 1655, bbox_head=[1, 2, 3, 3], keypoints=[0] * 51, track_id=3),
        box(200, [30, 4, 9, 18], 0),
        box(101, [2, 2, 10, 20], 1655),
        box(101, [30, 2, 10, 20], 1655),  # the same person twice in a frame
        box(101, [50, 2, 10, 20], None),
        box(101, [50, 2, 0, 20], 7),  # no area
        box(200, [3, 4, 9, 18], 1655),
    ],
)  # fmt: skip
# Queries have numbers of their own for the frames, of which one may stand there twice.
QUERY = (
    [image("val/b/000000", 1), image("val/a/000000", 2), image("val/b/000000", 3)],
    [box(2, [1.5, 2, 10, 20.25], 1655), box(1, [3, 4, 9, 18], 1655), box(3, [30, 4, 9, 18], 0)],
)
TRAIN = (
    [image("train/c/000000", 5), image("train/c/000001", 6)],
    [box(5, [1, 1, 5, 9], 7529), box(5, [9, 1, 5, 9], 11), box(6, [9, 1, 5, 9], 0)],
)
FILES = {"train": TRAIN, "val": VAL, "query": QUERY}


@pytest.fixture(params=["posetrack_person_search", "annotations/posetrack_person_search"])
def posetrack(tmp_path, request) -> Path:
    return write_posetrack21(tmp_path / "PoseTrack21", FILES, request.param)


def persons(record: dict) -> list[tuple]:
    return [(a["bbox"], a["person_id"]) for a in record["annotations"]]


def test_test_frames(posetrack):
    for root in (posetrack, posetrack.parent):
        records = POSETRACK21.load(root, "test").records
        assert [r["image_id"] for r in records] == [
            "val/a/000000", "val/a/000001", "val/b/000000", "val/b/000001",
        ]  # fmt: skip
    first = records[0]
    assert first["file_name"] == str(posetrack / "images" / "val" / "a" / "000000.jpg")
    assert (first["height"], first["width"], first["camera_id"]) == (48, 64, -1)
    assert first["ignore_regions"] == [[1, 2, 9, 2, 9, 8], [20.5, 0, 30, 0, 30, 5, 20, 5]]
    assert [r["ignore_regions"] for r in records[1:]] == [[], [], []]
    # Raw ids 0 and 1655 are persons 0 and 1.
    assert persons(first) == [([1.5, 2, 11.5, 22.25], 1)]
    assert persons(records[1]) == [
        ([2, 2, 12, 22], 1), ([30, 2, 40, 22], 1), ([50, 2, 60, 22], UNLABELED),
    ]  # fmt: skip
    assert persons(records[2]) == [([30, 4, 39, 22], 0), ([3, 4, 12, 22], 1)]
    assert persons(records[3]) == []


def test_training_persons_are_numbered_apart(posetrack):
    records = POSETRACK21.load(posetrack, "train").records
    assert [[p for _, p in persons(r)] for r in records] == [[2, 1], [0]]


def test_every_query_box_is_a_query(posetrack):
    protocols = POSETRACK21.protocols(posetrack)
    assert list(protocols) == ["regular"]
    protocol = protocols["regular"]()
    assert protocol.name == "PoseTrack21, all other frames"
    assert protocol.gallery is GalleryRule.OTHER_FRAMES
    assert protocol.query_frames.tolist() == [2, 0, 2]
    assert protocol.query_ids.tolist() == [1, 1, 0]
    assert protocol.query_boxes.tolist() == [
        [3, 4, 12, 22], [1.5, 2, 11.5, 22.25], [30, 4, 39, 22],
    ]  # fmt: skip


def test_the_rule_of_evaluation_by_hand(posetrack):
    """Neighbors in the video are in the gallery, the own frame is not, one box counts a frame."""
    frames = POSETRACK21.load(posetrack, "test").records
    protocol = POSETRACK21.protocols(posetrack)["regular"]()
    boxes = [a["bbox"] for f in frames for a in f["annotations"]]
    # In a/0: 1655; in a/1: 1655 twice and somebody; in b/0: 0 and 1655. Similar to everybody:
    similarity = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    results = SearchResults(
        **dataset_arrays(frames, protocol),
        det_offsets=np.array([0, 1, 4, 6, 6]),
        dets=np.column_stack([boxes, np.ones(6)]).astype(np.float32),
        det_embs=np.array(similarity, np.float32)[:, None],
        query_embs=np.ones((3, 1), np.float32),
    )
    metrics = evaluate_search(results)
    # 1655 in b/0: a/0 (.9) and a/1's first box (.8) are right: 1.
    # 1655 in a/0: a/1's first box, two others of a/1, 0 in b/0, then b/0's own: (1 + 2/5) / 2.
    # 0 in b/0: nowhere else, so no value.
    assert metrics.ap.tolist() == pytest.approx([1, 0.7, np.nan], nan_ok=True)


@pytest.fixture
def name():
    yield "posetrack_of_a_test"
    DatasetCatalog.pop("posetrack_of_a_test", None)
    MetadataCatalog.pop("posetrack_of_a_test", None)


def test_registered(posetrack, name):
    POSETRACK21.register(name, posetrack, "test")
    metadata = MetadataCatalog.get(name)
    assert (metadata.evaluator_type, metadata.split) == ("person_search", "test")
    assert len(DatasetCatalog.get(name)) == 4
    assert metadata.raw_person_ids == (0, 1655)
    assert metadata.protocols["regular"]().name == f"{name}, all other frames"


def test_a_training_set_has_no_protocols(posetrack, name):
    POSETRACK21.register(name, posetrack, "train")
    assert len(load_train_records((name,))) == 2
    metadata = MetadataCatalog.get(name)
    assert metadata.raw_person_ids == (0, 11, 7529) and not hasattr(metadata, "protocols")


# ---------------------------------------------------------------------------------------- damage


def damaged(root: Path, **files) -> Path:
    return write_posetrack21(root / "PoseTrack21", {**FILES, **files})


IMAGES, BOXES = QUERY


@pytest.mark.parametrize(
    "query, message",
    [
        ((IMAGES, []), "query.json names no query"),
        (([], []), "query.json names no frame"),
        ((IMAGES, [box(1, [1, 1, 2, 2], 5)]), "query.json asks for persons that val.json lacks: 5"),
        ((IMAGES, [box(1, [1, 1, 2, 2], None)]), "persons that val.json lacks: -1"),
        (
            ([image("train/c/000000", 1)], [box(1, [1, 1, 2, 2], 0)]),
            "asks in frames that val.json lacks: images/train/c/000000.jpg",
        ),
        ((IMAGES, [box(9, [1, 1, 2, 2], 0)]), "query.json is damaged"),
        ((IMAGES, [box(1, [1, 1, 2], 0)]), "query.json is damaged"),
    ],
)
def test_bad_queries(tmp_path, query, message):
    root = damaged(tmp_path, query=query)
    with pytest.raises(DatasetError, match=re.escape(message)):
        POSETRACK21.protocols(root)["regular"]()


@pytest.mark.parametrize(
    "val, message",
    [
        ((VAL[0], [box(100, [1, 1, 2, 2], None)]), "No box of"),
        (([image("val/a/0", 1), image("val/a/1", 1)], []), "val.json numbers two frames alike"),
        (([], [box(1, [1, 1, 2, 2], 0)]), "is damaged"),
        ((VAL[0], [box(100, [1, 1, 1e300, 2], 0)]), "val.json, image 100, box 1: "),
        ((VAL[0], [box(100, [1, 1, 2, 2], 3.5)]), "image 100, box 1: person 3.5 is not a whole"),
        ((VAL[0], [box(100, [1, 1, 2, 2], 1e300)]), "box 1: person 1e+300 is not a whole"),
        ((VAL[0], [box(100, [1, 1, 2, 2], "3")]), "is damaged"),
        ((VAL[0], [box(100, [1, 1, 2, 2], True)]), "is damaged"),
        (([{"id": 3, "file_name": "images/val/a/7.jpg"}], [{"image_id": 3}]), "is damaged"),
        (
            (
                [image("val/a/0", 1, ignore_regions_x=[[1, 2]], ignore_regions_y=[[1]])],
                [box(1, [1, 1, 2, 2], 0)],
            ),
            "val.json is damaged",
        ),
        (
            ([image("val/a/0", 1, ignore_regions_x=[[1, 2]])], [box(1, [1, 1, 2, 2], 0)]),
            "val.json is damaged",
        ),
    ],
)
def test_bad_frames(tmp_path, val, message):
    with pytest.raises(DatasetError, match=re.escape(message)):
        POSETRACK21.load(damaged(tmp_path, val=val), "test")


def test_missing_parts(tmp_path):
    root = damaged(tmp_path)
    (root / "images" / "val" / "b" / "000001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 files are missing .*: images/val/b/000001\.jpg"):
        POSETRACK21.load(root, "test")
    (root / "posetrack_person_search" / "train.json").unlink()
    with pytest.raises(DatasetError, match=r"train\.json is missing"):
        POSETRACK21.load(root, "train")
    expected = r"(?s)No PoseTrack21 .*query\.json.*DETECTRON2_DATASETS"
    with pytest.raises(DatasetError, match=expected):
        POSETRACK21.load(tmp_path / "nowhere", "train")
    (tmp_path / "empty" / "PoseTrack21").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"(?s)holds no posetrack_person_search/\. Expected"):
        POSETRACK21.load(tmp_path / "empty", "train")
