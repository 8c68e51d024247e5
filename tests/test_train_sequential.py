"""train_net.py in the two stages of sequential training, and the features between them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from street_runs import REPOSITORY, arguments, registered, train_net

from person_search import read_config
from person_search.data import build_train_loader
from person_search.data.crops import load_train_crops
from person_search.engine import PersonSearchCheckpointer, feature_cache
from person_search.errors import ConfigError, DatasetError, WeightsError

STREET = REPOSITORY / "configs" / "Street"
TEST = "street_tiny_test"
SMALL = (
    *("MODEL.FPN.OUT_CHANNELS", 16, "MODEL.RETINANET.NUM_CONVS", 1),
    *("MODEL.SEQUENTIAL.SQUARE", 160, "TEST.DETECTIONS_PER_IMAGE", 10),
    *("MODEL.RETINANET.SCORE_THRESH_TEST", 0.01, "TEST.SEARCH.SCORE_THRESH", 0.0),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]]),
    *("SOLVER.WARMUP_ITERS", 1, "INPUT.MIN_SIZE_TRAIN", (160,), "INPUT.MIN_SIZE_TEST", 160),
)


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    """The folder of a stage 1."""
    folder = tmp_path_factory.mktemp("detector")
    opts = "SOLVER.MAX_ITER", 30, "SOLVER.BASE_LR", 0.02, "DATASETS.TEST", (), "OUTPUT_DIR", folder
    train_net.main(arguments(*SMALL, *opts, config=STREET / "retinanet.yaml"))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def embed(detector, cache):
    """``embed(folder, *opts, name="j3")``: a stage 2 from the detector; gives its metrics."""

    def main(folder: Path, *opts, name: str = "j3", **flags) -> dict:
        line = (
            *SMALL,
            *("MODEL.WEIGHTS", detector / "model_final.pth"),
            *("DATALOADER.FEATURES.CACHE", cache, "DATALOADER.NUM_INSTANCE", 2),
            *("SOLVER.IMS_PER_BATCH", 8, "SOLVER.MAX_ITER", 30, "SOLVER.BASE_LR", 0.001),
            *("TEST.SEARCH.GT_BOXES", True, "OUTPUT_DIR", folder, *opts),
        )
        return train_net.main(arguments(*line, config=STREET / f"{name}.yaml", **flags))

    return main


@pytest.fixture(scope="module")
def embedder(embed, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("embedder")
    return folder, embed(folder)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model_final.pth")["model"]


def test_the_detector_learns(detector):
    """Asked before and after: what is logged is divided by a number of anchors that moves."""
    cfg = read_config(str(detector / "config.yaml"))
    batch = next(iter(build_train_loader(cfg)))
    found = []
    for weights in ("", str(detector / "model_final.pth")):
        torch.manual_seed(0)
        model = build_model(cfg).train()
        PersonSearchCheckpointer(model).load(weights)
        with torch.no_grad(), EventStorage():
            found.append(model(batch))
    for name in ("loss_cls", "loss_box_reg"):
        assert found[1][name] < found[0][name], name


def test_the_embedder_learns_and_is_evaluated(embedder):
    folder, found = embedder
    assert found.keys() == {"search", "search_gt", "detection"}
    assert 0 < found["search_gt"]["mAP"] <= 100  # so short a detector finds nobody
    lines = (folder / "metrics.json").read_text().splitlines()
    losses = [row["total_loss"] for row in map(json.loads, lines) if "total_loss" in row]
    assert losses[-1] < losses[0]


def test_the_detector_stays_as_it_is_to_the_last_bit(detector, embedder):
    before, after = state(detector), state(embedder[0])
    assert before.keys() == after.keys()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved and all(key.startswith("reid.") for key in moved)


def test_the_features_are_those_of_the_boxes(detector, embedder, cache):
    (path,) = cache.glob("*.npy")
    pooled = np.load(path)
    boxes = load_train_crops(("street_tiny_train",))
    assert pooled.dtype == np.float16 and pooled.shape == (len(boxes), 32, 16, 8)
    assert pooled.any(axis=(1, 2, 3)).all()  # no row was left out
    assert list(cache.iterdir()) == [path]


def test_a_training_that_goes_on_finds_the_features_again(embedder, embed, tmp_path, monkeypatch):
    """As batch-hard goes on from semi-hard: other replicas, the same detector."""
    monkeypatch.setattr(feature_cache, "_write", None)
    weights = "MODEL.WEIGHTS", embedder[0] / "model_final.pth"
    mining = "MODEL.REID.TRIPLET_MINING", "batch_hard"
    embed(tmp_path, *weights, *mining, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", ())
    assert "features of" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("name", ["j2", "j4"])
def test_other_cuts_start_from_the_same_detector(embed, detector, tmp_path, name):
    cache = "DATALOADER.FEATURES.CACHE", tmp_path / "features"
    embed(tmp_path, *cache, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", (), name=name)
    before, after = state(detector), state(tmp_path)
    stages = {"j2": ("res3", "res4", "res5"), "j4": ("res5",)}[name]
    assert {key.split(".")[2] for key in after if key.startswith("reid.net.")} == {*stages}
    assert all(torch.equal(after[k], before[k]) for k in before if not k.startswith("reid."))


def test_an_interrupted_writing_goes_on(embed, cache, tmp_path, monkeypatch):
    """With the same numbers in the end; frames that are safe are not read again."""
    folder = tmp_path / "features"
    opts = "DATALOADER.FEATURES.CACHE", folder, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", ()
    monkeypatch.setattr(feature_cache, "STEP", 2)
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".npy"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(DatasetError, match="No space.*DATALOADER.FEATURES.CACHE"):
            embed(tmp_path, *opts)
    (mark,) = folder.glob("*.json")
    frames = int(mark.read_text())
    embed(tmp_path, *opts)
    assert f"interrupted; {frames} frames of it are kept" in (tmp_path / "log.txt").read_text()
    (again,), (first,) = folder.iterdir(), cache.iterdir()
    assert again.name == first.name and again.read_bytes() == first.read_bytes()


def test_one_run_writes_at_a_time(tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="this system has no such locks")
    other = os.open(tmp_path, os.O_RDONLY)
    with feature_cache._alone(tmp_path), pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again
    os.close(other)


def test_a_part_that_is_damaged_is_begun_anew(tmp_path):
    part, mark = tmp_path / "x.part", tmp_path / "x.json"
    np.lib.format.open_memmap(part, "w+", np.float16, (5, 2, 3, 3)).flush()
    mark.write_text("4")
    assert feature_cache._safe(part, mark, 5) == 4
    assert feature_cache._safe(part, mark, 6) == 0
    mark.write_text("4, or so")
    assert feature_cache._safe(part, mark, 5) == 0
    mark.write_text("4")
    part.write_bytes(part.read_bytes()[:-8])
    assert feature_cache._safe(part, mark, 5) == 0


def test_other_weights_have_features_of_their_own(embed, detector, tmp_path):
    content = torch.load(detector / "model_final.pth")
    content["model"]["backbone.base.res2.0.conv1.weight"] += 0.01
    torch.save(content, tmp_path / "other.pth")
    cache = tmp_path / "features"
    opts = "DATALOADER.FEATURES.CACHE", cache, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", ()
    embed(tmp_path, *opts)
    embed(tmp_path, *opts, "MODEL.WEIGHTS", tmp_path / "other.pth")
    assert len(list(cache.glob("*.npy"))) == 2


def test_a_file_cut_short_is_refused(embed, embedder, cache, tmp_path):
    (path,) = cache.iterdir()
    (tmp_path / path.name).write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DatasetError, match=f"damaged feature cache .*remove .*{path.name}"):
        embed(tmp_path, "DATALOADER.FEATURES.CACHE", tmp_path)


@pytest.mark.parametrize(
    "opts, error, said",
    [
        (("MODEL.WEIGHTS", ""), ConfigError, "the checkpoint of the detector"),
        (("MODEL.WEIGHTS", "nowhere.pth"), WeightsError, "no weights file nowhere.pth"),
        (("SOLVER.IMS_PER_BATCH", 2000), ConfigError, "takes 1000 identities, but .* has only"),
        (("MODEL.META_ARCHITECTURE", "RetinaNet"), ConfigError, "RetinaNet pools no features"),
    ],
    ids=["no weights", "no file", "few identities", "another model"],
)
def test_what_stage_2_cannot_do_is_said(embed, tmp_path, opts, error, said):
    with pytest.raises(error, match=said):
        embed(tmp_path, *opts)
