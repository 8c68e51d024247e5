"""One's own data: the reader, registering by folder, and Street through it and its own reader."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import coco_box, coco_image, write_coco
from street_runs import registered

from person_search.data import load_train_records
from person_search.data.crops import load_test_crops
from person_search.data.readers import coco_style, register_all, register_coco_style
from person_search.errors import ConfigError, DatasetError
from person_search.evaluation import SearchResults, dataset_arrays, evaluate_search
from person_search.importing import (
    Box,
    Frame,
    Place,
    Reading,
    Sides,
    check_frames,
    read_inputs,
    settle_persons,
    split_as_given,
    write_dataset,
)
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule

IMAGES = [
    coco_image(1, "a/1.png", camera_id=4),
    coco_image(2, camera_id=5),
    coco_image(3, camera_id=4),
]
BOXES = [
    coco_box(1, 1, 30, [1.5, 2, 10, 20], query=1),
    coco_box(2, 1, "anna", [-3, 2, 10, 20], query=1),
    coco_box(3, 2, 30, [4, 5, 6, 7]),
    coco_box(4, 2, None, [9, 5, 6, 7]),
    coco_box(5, 2, 5, [20, 30, 4, 4], ignore=1),
    coco_box(6, 3, "anna", [1, 1, 5, 6]),
]
MARKER = {"format": 1, "kind": "frames", "images": ".", "protocols": ["regular", "multi_view"]}


def write_prepared(folder: Path, images=IMAGES, boxes=BOXES, pictures=False, **marker) -> Path:
    for split in ("train", "test"):
        write_coco(folder / f"{split}.json", images, boxes, pictures)
    (folder / "dataset.json").write_text(json.dumps({**MARKER, **marker}))
    return folder


def load_coco_style(folder: Path, split: str) -> list[dict]:
    return coco_style.load_split(folder, split).records


def load_coco_style_protocols(folder: Path, title: str) -> dict:
    return coco_style.load_protocols(folder, title)


@pytest.fixture
def at():
    """``register_all``, undone after the test."""
    with registered(Path("nowhere")):
        yield register_all


def test_frames(tmp_path):
    folder = write_prepared(tmp_path / "mine", images=[*IMAGES, coco_image(9)])
    records = load_coco_style(folder, "test")
    assert [r["image_id"] for r in records] == ["a/1.png", "2.png", "3.png", "9.png"]
    assert [r["camera_id"] for r in records] == [4, 5, 4, -1]
    first, second = records[:2]
    assert first["file_name"] == str(folder / "a" / "1.png")
    assert (first["height"], first["width"]) == (48, 64)
    # Numbers come before texts: 30 is person 0, "anna" is person 1; 5 is in an ignored box.
    found = [(a["bbox"], a["person_id"]) for a in first["annotations"]]
    assert found == [([1.5, 2, 11.5, 22], 0), ([-3, 2, 7, 22], 1)]
    assert [a["person_id"] for a in second["annotations"]] == [0, UNLABELED]
    assert second["ignore_regions"] == [[20, 30, 24, 30, 24, 34, 20, 34]]
    assert records[3]["annotations"] == []


def test_protocols(tmp_path):
    folder = write_prepared(tmp_path / "mine")
    protocols = load_coco_style_protocols(folder, "Mine")
    regular, across = (protocols[name]() for name in protocols)
    assert (regular.name, regular.gallery) == ("Mine, regular gallery", GalleryRule.OTHER_FRAMES)
    assert regular.query_frames.tolist() == [0, 0] and regular.query_ids.tolist() == [0, 1]
    np.testing.assert_array_equal(regular.query_boxes, [[1.5, 2, 11.5, 22], [-3, 2, 7, 22]])
    # anna was seen by camera 4 alone.
    assert across.gallery is GalleryRule.OTHER_CAMERAS and across.query_ids.tolist() == [0]
    assert across.name == "Mine, multi-view gallery"


def test_folders_below_the_root_are_registered(at, tmp_path):
    write_prepared(tmp_path / "mine", pictures=True)
    (write_prepared(tmp_path / "half") / "test.json").unlink()
    (tmp_path / "other").mkdir()
    at(tmp_path)
    assert MetadataCatalog.get("mine_test").evaluator_type == "person_search"
    assert list(MetadataCatalog.get("mine_test").protocols) == ["regular", "multi_view"]
    assert not hasattr(MetadataCatalog.get("mine_train"), "protocols")
    assert "half_train" in DatasetCatalog and "half_test" not in DatasetCatalog
    assert len(load_train_records(("mine_train",))) == 3
    assert MetadataCatalog.get("mine_train").raw_person_ids == (30, "anna")
    at(tmp_path)
    at(tmp_path / "elsewhere")
    assert "mine_train" not in DatasetCatalog and "half_train" not in DatasetCatalog
    assert "mine_train" not in MetadataCatalog.list()


def test_what_cannot_be_registered_is_a_warning(at, tmp_path, caplog):
    write_prepared(tmp_path / "prw")
    write_prepared(tmp_path / "damaged")
    (tmp_path / "damaged" / "dataset.json").write_text("{")
    write_prepared(tmp_path / "mine")
    with caplog.at_level(logging.WARNING):
        at(tmp_path)
    assert "another data set is called prw_train: rename" in caplog.text
    assert "damaged_test is not registered" in caplog.text and "dataset.json" in caplog.text
    assert "mine_train" in DatasetCatalog
    assert MetadataCatalog.get("prw_train").dirname == str(tmp_path)  # still PRW's own


@pytest.mark.parametrize(
    "marker", [{"format": 2}, {"kind": "video"}, {"protocols": ["full"]}, {"images": None}]
)
def test_markers_that_say_something_else(tmp_path, marker):
    folder = write_prepared(tmp_path / "mine")
    (folder / "dataset.json").write_text(json.dumps({**MARKER, **marker}))
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        register_coco_style("mine_marker_train", folder, "train")


@pytest.mark.parametrize(
    "images, boxes, message",
    [
        (IMAGES, [*BOXES, coco_box(7, 3, 30, [1, 1, 0, 4])], "test.json, annotation 7, box 1: x"),
        (IMAGES, [*BOXES, coco_box(7, 3, 30, [1, 1, 1e300, 4])], "annotation 7, box 1: x"),
        (IMAGES, [*BOXES, coco_box(7, 3, 30, [1, 1, "wide", 4])], "test.json is damaged"),
        (IMAGES, [*BOXES, coco_box(7, 3, 3.5)], "annotation 7: person_id 3.5: expected"),
        (IMAGES, [*BOXES, coco_box(7, 3, "-1")], "annotation 7: person_id '-1': expected"),
        (IMAGES, [*BOXES, coco_box(7, 3, True)], "annotation 7: person_id True: expected"),
        (IMAGES, [*BOXES, coco_box(7, 3, "30")], "person 30 is a number here and a text there"),
        (IMAGES, [*BOXES, coco_box(7, 4, 30)], "annotation 7: image_id 4 is no image"),
        (IMAGES, [*BOXES, coco_box(7, 3, query=1)], "annotation 7: a query of nobody"),
        (IMAGES, [*BOXES, coco_box(7, 3, ignore=2)], "annotation 7: ignore, iscrowd and query"),
        (IMAGES, [coco_box(1, 1)], "no annotation has a person_id"),
        ([*IMAGES, {"id": 9, "file_name": "9.png"}], BOXES, "image 9: no width and height"),
        ([*IMAGES, coco_image(1, "x.png")], BOXES, "image 1: an image of that id came before"),
        ([*IMAGES, coco_image(9, "2.png")], BOXES, "2.png stands there twice"),
        ([], [], "expected lists of images and annotations"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path, images, boxes, message):
    folder = write_prepared(tmp_path / "mine", images, boxes)
    with pytest.raises(DatasetError, match=re.escape(message)):
        load_coco_style(folder, "test")


def test_a_person_may_be_twice_in_a_frame(tmp_path):
    """As in 13 frames of PRW, which were imported with --twice keep."""
    folder = write_prepared(tmp_path / "mine", boxes=[*BOXES, coco_box(7, 3, "anna")])
    assert [a["person_id"] for a in load_coco_style(folder, "test")[2]["annotations"]] == [1, 1]


def test_files_that_are_missing(tmp_path):
    folder = write_prepared(tmp_path / "mine", boxes=[{**b, "query": 0} for b in BOXES])
    with pytest.raises(DatasetError, match="holds no query for the protocol regular"):
        load_coco_style_protocols(folder, "x")["regular"]()
    (folder / "train.json").unlink()
    with pytest.raises(DatasetError, match=r"train\.json is missing"):
        load_coco_style(folder, "train")
    with pytest.raises(DatasetError, match=r"dataset\.json is missing"):
        load_coco_style(tmp_path / "none", "train")
    with pytest.raises(DatasetError, match="Unknown split 'val'"):
        load_coco_style(folder, "val")


# ------------------------------------------------------------------------------ crops


def test_crops(at, tmp_path):
    images = [coco_image(k, camera_id=k) for k in (1, 2, 3)]
    boxes = [coco_box(1, 1, 8, query=1), coco_box(2, 2, 8), coco_box(3, 3, None)]
    write_prepared(tmp_path / "people", images, boxes, kind="crops")
    at(tmp_path)
    queries, gallery = load_test_crops("people_test")
    assert [(c["person_id"], c["camera_id"], c["bbox"]) for c in queries] == [(0, 1, None)]
    assert [(c["person_id"], c["role"]) for c in gallery] == [(0, "gallery"), (-1, "gallery")]
    assert {r["role"] for r in DatasetCatalog.get("people_train")} == {"train"}
    assert MetadataCatalog.get("people_test").evaluator_type == "reid"
    folder = write_prepared(tmp_path / "two", images, [*boxes, coco_box(4, 3, 9)], kind="crops")
    with pytest.raises(DatasetError, match=r"test\.json: .*3\.png: a crop has one ann"):
        load_coco_style(folder, "test")


# ------------------------------------------------------------------------------ writing


def sides(root: Path, names=("1.png", "2.png"), camera="door", person=3) -> Sides:
    box = Box((1.5, 2, 10, 20), person, Place("x"))
    train, test = (
        Frame(str(root / n), (48, 64), (box,), Place("x"), camera, time=4) for n in names
    )
    return Sides([train], [test._replace(boxes=(box._replace(is_query=True),))])


def test_what_is_written_is_read(tmp_path):
    write_dataset(tmp_path / "mine", sides(tmp_path / "pictures"), "frames", how="by hand")
    (record,) = load_coco_style(tmp_path / "mine", "test")
    assert record["file_name"] == str(tmp_path / "pictures" / "2.png")
    assert (record["camera_id"], record["annotations"][0]["bbox"]) == (1, [1.5, 2, 11.5, 22])
    marker = json.loads((tmp_path / "mine" / "dataset.json").read_text())
    assert marker["images"] == str(tmp_path / "pictures") and marker["cameras"] == {"door": 1}
    assert marker["protocols"] == ["regular"] and marker["made"] == "by hand"


def test_pictures_inside_the_folder_move_with_it(tmp_path):
    folder = tmp_path / "mine"
    write_dataset(folder, sides(folder / "pictures", camera=7, person="x"), "frames")
    folder.rename(tmp_path / "moved")
    (record,) = load_coco_style(tmp_path / "moved", "train")
    assert record["file_name"] == str(tmp_path / "moved" / "pictures" / "1.png")
    assert record["camera_id"] == 7


def test_nothing_is_overwritten(tmp_path):
    write_coco(tmp_path / "mine" / "train.json", IMAGES, BOXES, pictures=False)
    given = sides(tmp_path)
    with pytest.raises(DatasetError, match=r"train\.json would be overwritten: choose another"):
        write_dataset(tmp_path / "mine", given, "frames", overwrite=True)
    write_dataset(tmp_path / "other", given, "frames")
    with pytest.raises(DatasetError, match="or say --overwrite"):
        write_dataset(tmp_path / "other", given, "frames")
    write_dataset(tmp_path / "other", Sides(given.train, []), "frames", overwrite=True)
    assert not (tmp_path / "other" / "test.json").exists()


# ------------------------------------------------------------------------------ Street


@pytest.fixture(scope="module")
def street_twice(street_root, tmp_path_factory):
    """Street tiny in PRW's layout, and the same frames and queries as one's own data."""
    root = tmp_path_factory.mktemp("own")
    with registered(street_root):
        reading, how = Reading(), {"spelling": None, "twice": None}
        groups = read_inputs("registered", ["street_tiny_train", "street_tiny_test"], reading)
        frames = settle_persons("registered", groups, reading, shared=None, **how)
        frames = check_frames(frames, reading)
        assert reading.faults == []
        write_dataset(root / "own", split_as_given(frames), "frames")
        for split in ("train", "test"):
            register_coco_style(f"own_{split}", root / "own", split)
        yield
        for split in ("train", "test"):
            DatasetCatalog.remove(f"own_{split}")
            MetadataCatalog.remove(f"own_{split}")


@pytest.mark.parametrize("split", ["train", "test"])
def test_street_has_the_same_records(street_twice, split):
    pairs = zip(
        DatasetCatalog.get(f"street_tiny_{split}"), DatasetCatalog.get(f"own_{split}"), strict=True
    )
    for record, own in pairs:
        for key in ("file_name", "height", "width", "camera_id"):
            assert record[key] == own[key]
        for person, own_person in zip(record["annotations"], own["annotations"], strict=True):
            assert person["person_id"] == own_person["person_id"]
            np.testing.assert_allclose(person["bbox"], own_person["bbox"], rtol=0, atol=1e-9)
    raw_ids = [MetadataCatalog.get(f"{n}_{split}").raw_person_ids for n in ("street_tiny", "own")]
    assert raw_ids[0] == raw_ids[1]


@pytest.mark.parametrize("protocol", ["regular", "multi_view"])
def test_street_gets_the_same_marks(street_twice, protocol):
    """Noisy detections of noisy embeddings of everybody, searched under both registrations."""
    marks = []
    for name in ("street_tiny_test", "own_test"):
        frames = DatasetCatalog.get(name)
        search = MetadataCatalog.get(name).protocols[protocol]()
        boxes = [np.array([a["bbox"] for a in f["annotations"]]).reshape(-1, 4) for f in frames]
        people = np.concatenate([[a["person_id"] for a in f["annotations"]] for f in frames])
        rng = np.random.default_rng(0)
        looks, noise = rng.normal(size=(2, 200, 16))
        dets = np.concatenate(boxes) + rng.normal(0, 2, (len(people), 4))
        results = SearchResults(
            **dataset_arrays(frames, search),
            det_offsets=np.cumsum([0, *map(len, boxes)]),
            dets=np.column_stack([dets, rng.uniform(0.3, 1, len(dets))]).astype(np.float32),
            det_embs=unit(looks[people] + rng.normal(0, 1, (len(people), 16))),
            query_embs=unit(looks[search.query_ids] + noise[search.query_frames]),
        )
        # Queries stand in the order of the query file here, of the frames there.
        order = np.lexsort([search.query_ids, search.query_frames])
        metrics = evaluate_search(results)
        asked = search.query_frames[order], search.query_ids[order], search.query_boxes[order]
        marks.append([*asked, metrics.ap[order], metrics.hits[order]])
    assert 0.1 < np.nanmean(marks[0][3]) < 0.95 and len(marks[0][3]) > 10
    for first, own in zip(*marks, strict=True):
        np.testing.assert_allclose(first, own, rtol=0, atol=1e-9)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_only_person_search_sets_can_be_read_again(street_twice):
    for name in ("street_tiny_noon_train", "nobody_train"):
        with pytest.raises(ConfigError, match=f"no person search set is registered as {name}"):
            read_inputs("registered", [name], Reading())
