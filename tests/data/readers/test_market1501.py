"""Folders like Market-1501's: hand-made, damaged, real names, and a model trained on one."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import Shot, noise, street_shots, write_market1501
from scipy.io import loadmat
from street_runs import REPOSITORY, arguments, registered, train_net

from person_search.data import build_test_loader, build_train_loader
from person_search.data.crops import load_test_crops, load_train_crops
from person_search.data.readers import MARKET1501
from person_search.errors import ConfigError, DatasetError
from person_search.evaluation import ReIDEvaluator, build_evaluator

SHARED = REPOSITORY / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="needs the research data beside the repository"
)

# Person, camera, number of the picture. Person 0 of the gallery: distractors; -1: junk.
FOLDERS = {
    "bounding_box_train": [(7, 1), (2, 3), (7, 6), (1500, 2)],
    "query": [(10, 1), (3, 2)],
    "bounding_box_test": [(3, 1), (-1, 1), (10, 1), (0, 5), (10, 2), (3, 2)],
}


@pytest.fixture
def market(tmp_path) -> Path:
    shots = {
        folder: [Shot(*pair, noise(k)) for k, pair in enumerate(pairs)]
        for folder, pairs in FOLDERS.items()
    }
    root = write_market1501(tmp_path / "Market-1501-v15.09.15", shots)
    (root / "bounding_box_test" / "Thumbs.db").write_text("Windows leaves these behind")
    return root


@pytest.fixture
def names():
    """``names(root)`` registers both splits as mine_train and mine_test."""

    def register(root: Path) -> tuple[str, str]:
        for split in ("train", "test"):
            MARKET1501.register(f"mine_{split}", root, split)
        return "mine_train", "mine_test"

    yield register
    for name in ("mine_train", "mine_test"):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def test_a_record_is_what_the_name_says(market):
    records = MARKET1501.load(market, "train").records
    assert records[0] == {
        "file_name": str(market / "bounding_box_train" / "0002_c3s1_000001_00.jpg"),
        "image_id": "bounding_box_train/0002_c3s1_000001_00.jpg",
        "bbox": None,
        "person_id": 0,
        "camera_id": 3,
        "role": "train",
        "domain": "Market-1501",
    }
    assert [(r["person_id"], r["camera_id"]) for r in records] == [(0, 3), (1, 1), (1, 6), (2, 2)]


def test_queries_then_gallery_with_distractors_and_without_junk(market):
    records = MARKET1501.load(market, "test").records
    # Raw ids 0, 3, 10 are persons 0, 1, 2.
    assert [(r["role"], r["person_id"], r["camera_id"]) for r in records] == [
        ("query", 1, 2), ("query", 2, 1),
        ("gallery", 0, 5), ("gallery", 1, 1), ("gallery", 1, 2), ("gallery", 2, 1),
        ("gallery", 2, 2),
    ]  # fmt: skip
    assert len({r["image_id"] for r in records}) == len(records)


@pytest.mark.parametrize("folder", ["Market-1501-v15.09.15", "Market-1501", "market1501"])
def test_the_folder_of_all_data_sets_will_do(market, folder):
    market.rename(market.with_name(folder))
    records = MARKET1501.load(market.parent, "train").records
    assert records[0]["file_name"].startswith(str(market.parent / folder))


def test_other_sets_in_such_folders(tmp_path):
    """As CUHK03-NP (png) and the flattened MSMT17 (two-digit cameras, a person 0) are handed on."""
    root = tmp_path / "np"
    (root / "bounding_box_train").mkdir(parents=True)
    for name in ("0001_c1_1.png", "0000_c12_0033.jpg", "0001_c2_6.PNG"):
        (root / "bounding_box_train" / name).touch()
    records = MARKET1501.load(root, "train").records
    found = [(r["person_id"], r["camera_id"]) for r in records]
    assert found == [(0, 12), (1, 1), (1, 2)]


def test_a_folder_that_is_for_test_only(market):
    for path in (market / "bounding_box_train").iterdir():
        path.unlink()
    (market / "bounding_box_train").rmdir()
    assert len(MARKET1501.load(market, "test").records) == 7


def test_a_name_without_person_is_named(market):
    (market / "query" / "holiday.jpg").touch()
    with pytest.raises(DatasetError, match=r"query/holiday\.jpg: expected a name that starts with"):
        MARKET1501.load(market, "test")


def test_an_empty_and_a_missing_folder(market):
    for path in (market / "query").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="query names no picture"):
        MARKET1501.load(market, "test")
    (market / "query").rmdir()
    with pytest.raises(DatasetError, match="query cannot be listed"):
        MARKET1501.load(market, "test")


def test_a_missing_data_set_shows_the_tree_and_the_remedy(tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)bounding_box_train/.*DETECTRON2_DATASETS"):
        MARKET1501.load(tmp_path, "train")


def test_registration_is_lazy_and_the_metadata_follows(market, names):
    parked = market.rename(market.with_name("parked"))
    train, test = names(market)
    metadata = MetadataCatalog.get(test)
    assert (metadata.evaluator_type, metadata.split) == ("reid", "test")
    assert not hasattr(metadata, "num_person_ids")
    parked.rename(market)
    records = DatasetCatalog.get(test)
    assert {r["domain"] for r in records} == {test}
    assert (metadata.num_person_ids, metadata.raw_person_ids) == (3, (0, 3, 10))
    DatasetCatalog.get(train)
    assert MetadataCatalog.get(train).raw_person_ids == (2, 7, 1500)


def test_unknown_split(market):
    with pytest.raises(DatasetError, match="'val'; legal are train, test"):
        MARKET1501.register("mine_val", market, "val")


# ----------------------------------------------------------------------------------- as crops


def test_identities_behind_those_of_another_set(market, names):
    train, _ = names(market)
    again = [c["person_id"] for c in load_train_crops((train, train))]
    assert again == [0, 1, 1, 2, 3, 4, 4, 5]


def test_test_crops_are_told_apart_by_role(market, names):
    train, test = names(market)
    queries, gallery = load_test_crops(test)
    assert [q["person_id"] for q in queries] == [1, 2]
    assert [g["person_id"] for g in gallery] == [0, 1, 1, 2, 2]
    with pytest.raises(DatasetError, match="mine_train holds no queries: it is no test set"):
        load_test_crops(train)


def test_the_camera_rule_by_hand(market, names, tiny_cfg, tmp_path):
    """Person 3 (camera 2) and person 10 (camera 1) ask; the order of the gallery is fixed."""
    _, test = names(market)
    cfg = tiny_cfg("DATALOADER.SOURCE", "crops", "OUTPUT_DIR", str(tmp_path))
    evaluator = build_evaluator(cfg, test)
    assert isinstance(evaluator, ReIDEvaluator)
    evaluator.reset()
    # Every query ranks the gallery in its own order: (person, camera) 0/5, 3/1, 3/2, 10/1, 10/2.
    embeds = [[1.0], [1.0], [0.9], [0.8], [0.7], [0.6], [0.5]]
    evaluator.process(
        [{"crop_index": k} for k in range(7)], [{"embeds": torch.tensor(e)} for e in embeds]
    )
    found = evaluator.evaluate()
    # All:       person 3 is right at 2, 3: (1/2 + 2/3) / 2; person 10 at 4, 5: (1/4 + 2/5) / 2.
    assert found["reid"]["mAP"] == pytest.approx(100 * (7 / 12 + 13 / 40) / 2)
    # By camera: 3/2 is out, of 0, 3/1, 10, 10 the second is right; 10/1 is out, the fourth is.
    assert found["reid_cross_camera"]["mAP"] == pytest.approx(100 * (1 / 2 + 1 / 4) / 2)
    assert (found["reid_cross_camera"]["top1"], found["reid_cross_camera"]["top5"]) == (0, 100)


def test_frames_are_wanted(market, names, tiny_cfg):
    train, test = names(market)
    cfg = tiny_cfg("DATASETS.TRAIN", (train,))
    with pytest.raises(ConfigError, match="mine_train holds pictures of single persons.*SOURCE"):
        build_train_loader(cfg)
    with pytest.raises(ConfigError, match="mine_test has no queries.*DATALOADER.SOURCE crops"):
        build_test_loader(cfg, test)
    with pytest.raises(ConfigError, match="mine_test has evaluator_type 'reid'.*'frames'"):
        build_evaluator(cfg, test)


def test_pixels_reach_the_model(market, names, tiny_cfg, tmp_path):
    """Every input is its picture, whatever the order of the loader."""
    _, test = names(market)
    cfg = tiny_cfg(
        *("DATALOADER.SOURCE", "crops", "INPUT.MAPPER", "CropMapper", "INPUT.REID.SIZE", (8, 4)),
        *("INPUT.REID.CROP_CACHE", str(tmp_path / "crops"), "DATALOADER.NUM_WORKERS", 0),
    )
    inputs = [x for batch in build_test_loader(cfg, test) for x in batch]
    assert len(inputs) == 7
    # Of the gallery by name: 0000 is the fourth picture that was written, 0003_c1 the first.
    by_id = {x["image_id"]: x["image"].permute(1, 2, 0).numpy() for x in inputs}
    for name, seed in (("0000_c5s1_000003_00.jpg", 3), ("0003_c1s1_000000_00.jpg", 0)):
        found = by_id[f"bounding_box_test/{name}"]
        differences = [np.abs(found - noise(other)).mean() for other in range(6)]
        assert int(np.argmin(differences)) == seed


def test_a_model_trains_and_is_evaluated_on_such_folders(street_root, tmp_path, names):
    config = REPOSITORY / "configs" / "ReID-Pretrain" / "Street.yaml"
    with registered(street_root):
        train, test = street_shots(), street_shots("street_tiny_test")
        root = write_market1501(
            tmp_path / "mine",
            {"bounding_box_train": train, "query": test[:5], "bounding_box_test": test[5:]},
        )
        names(root)
        found = train_net.main(
            arguments(
                *("DATASETS.TRAIN", ("mine_train",), "DATASETS.TEST", ("mine_test",)),
                *("INPUT.REID.CROP_CACHE", tmp_path / "crops", "INPUT.REID.SIZE", (48, 24)),
                *("SOLVER.IMS_PER_BATCH", 8, "SOLVER.MAX_ITER", 2),
                *("OUTPUT_DIR", tmp_path / "output"),
                config=config,
            )
        )
    assert 0 < found["reid"]["mAP"] <= 100
    assert 0 < found["reid_cross_camera"]["mAP"] <= 100
    assert (tmp_path / "output" / "inference" / "reid_mine_test.json").exists()


# ------------------------------------------------------------------------------ the real names


def published(file: str) -> np.ndarray:
    """The one column of a real file about all pictures of a folder, by name."""
    content = loadmat(SHARED / "annotations/person-re-ranking/Market-1501" / file)
    (column,) = (value.ravel() for key, value in content.items() if not key.startswith("__"))
    return column.astype(int)


@pytest.fixture
def complete(tmp_path, monkeypatch) -> Path:
    """Folders that list the real names; those of the test are rebuilt from person and camera."""
    lines = (SHARED / "annotations/LUPerson/market1501_train_used_ims_1.00.txt").read_text()
    files = {"bounding_box_train": [line.split(";")[0] for line in lines.splitlines()]}
    for name, key in (("query", "query"), ("bounding_box_test", "test")):
        columns = zip(published(f"{key}ID.mat"), published(f"{key}Cam.mat"), strict=True)
        files[name] = [
            f"{'-1' if person < 0 else f'{person:04d}'}_c{camera}s1_{number:06d}_00.jpg"
            for number, (person, camera) in enumerate(columns)
        ]
    for name in files:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os, "listdir", lambda folder: files[Path(folder).name])
    return tmp_path


@needs_shared
def test_all_published_counts(complete):
    train, test = (MARKET1501.load(complete, split).records for split in ("train", "test"))
    assert (len(train), len({r["person_id"] for r in train})) == (12936, 751)
    assert [r["camera_id"] for r in train] == published("train_cam.mat").tolist()
    raw_ids, numbers = np.unique(published("train_label.mat"), return_inverse=True)
    assert [r["person_id"] for r in train] == numbers.tolist()
    assert (raw_ids[0], raw_ids[-1]) == (2, 1500)
    assert Counter(r["role"] for r in test) == {"query": 3368, "gallery": 15913}
    queried = {r["person_id"] for r in test if r["role"] == "query"}
    assert len(queried) == 750
    gallery = [r for r in test if r["role"] == "gallery"]
    assert sum(r["person_id"] not in queried for r in gallery) == 2798  # distractors
    assert {r["camera_id"] for r in train} == {r["camera_id"] for r in test} == set(range(1, 7))


@needs_shared
@pytest.mark.parametrize(
    "name, number, persons",
    [
        ("market1501", 12936, 751),
        ("msmt17", 32621, 1041),
        ("cuhk03_np_labeled", 7368, 767),
        ("cuhk03_np_detected", 7365, 767),
    ],
)
def test_persons_and_cameras_as_others_read_them(tmp_path, monkeypatch, name, number, persons):
    """Real lists of a public re-ID library: file; its person, contiguous; its camera from 0."""
    lines = (SHARED / f"annotations/LUPerson/{name}_train_used_ims_1.00.txt").read_text()
    expected = {}
    for line in lines.splitlines():
        file, person, camera, *_ = line.replace(" ", "").split(";")
        expected[file] = int(person), int(camera) + 1
    (tmp_path / "bounding_box_train").mkdir()
    monkeypatch.setattr(os, "listdir", lambda folder: list(expected))
    records = MARKET1501.load(tmp_path, "train").records
    found = {os.path.basename(r["file_name"]): (r["person_id"], r["camera_id"]) for r in records}
    assert found == expected
    assert (len(records), len({person for person, _ in found.values()})) == (number, persons)


@needs_shared
def test_real_pictures(tmp_path):
    (tmp_path / "bounding_box_train").symlink_to((SHARED / "reid_crops").resolve())
    records = MARKET1501.load(tmp_path, "train").records
    assert [re.search(r"/(\d+_c\d)", r["image_id"])[1] for r in records] == [
        "0022_c6", "0027_c2", "0032_c6", "0048_c1", "0065_c6",
    ]  # fmt: skip
    assert [(r["person_id"], r["camera_id"]) for r in records] == list(enumerate([6, 2, 6, 1, 6]))
