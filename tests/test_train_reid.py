"""train_net.py on crops, from end to end: train, resume, evaluate, and start a person search."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.utils.env import seed_all_rng
from street_runs import REPOSITORY, arguments, registered, train_net

from person_search.data.crops import load_train_crops

CONFIG = REPOSITORY / "configs" / "ReID-Pretrain" / "Street.yaml"
TEST = "street_tiny_test"


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    cache = tmp_path_factory.mktemp("crops")

    def main(folder: Path, *opts, **flags) -> dict:
        return train_net.main(
            arguments(
                *("INPUT.REID.CROP_CACHE", cache, "INPUT.REID.SIZE", (48, 24)),
                *("SOLVER.IMS_PER_BATCH", 8, "SOLVER.MAX_ITER", 6, "SOLVER.STEPS", (4,)),
                *("SOLVER.CHECKPOINT_PERIOD", 3, "OUTPUT_DIR", folder, *opts),
                config=CONFIG,
                **flags,
            )
        )

    return main


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, run(folder)


def test_training_logs_every_loss_and_evaluates(trained):
    folder, found = trained
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    losses = {"loss_id", "loss_triplet", "loss_center", "total_loss"}
    assert losses < lines[0].keys()
    assert all(math.isfinite(lines[0][key]) and lines[0][key] > 0 for key in losses)
    assert lines[0]["reid/num_labeled"] == 8
    assert {"mAP", "top1", "top5", "top10"} == found["reid"].keys()
    assert 0 < found["reid"]["mAP"] <= 100
    assert (folder / "inference" / f"reid_{TEST}.json").exists()


def test_six_iterations_equal_three_and_three_more(trained, run, tmp_path):
    folder, found = trained
    shutil.copy(folder / "model_0000002.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth")
    seed_all_rng(100)  # a resumed process starts with other numbers
    assert run(tmp_path, resume=True) == found
    whole, resumed = (torch.load(f / "model_final.pth") for f in (folder, tmp_path))
    assert whole["model"].keys() == resumed["model"].keys()
    for key, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][key]), key
    states = [x["trainer"]["_trainer"]["optimizer"]["state"] for x in (whole, resumed)]
    assert len(states[0]) > 50
    for parameter, state in states[0].items():
        for key in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(state[key], states[1][parameter][key])
    start = torch.load(folder / "model_0000002.pth")["model"]["reid.head.center_loss.centers"]
    assert not torch.equal(start, whole["model"]["reid.head.center_loss.centers"])


def test_eval_only_gives_the_numbers_of_the_end_of_training(trained, run, tmp_path):
    folder, at_the_end = trained
    weights = "MODEL.WEIGHTS", folder / "model_final.pth"
    assert run(tmp_path, *weights, eval_only=True) == at_the_end
    assert run(tmp_path, *weights, "MODEL.REID.NUM_IDS", 0, eval_only=True) == at_the_end


def test_an_epoch_is_all_crops(run, tmp_path):
    """So the paper's schedule in epochs means what it says."""
    run(tmp_path, "SOLVER.EPOCHS", 40, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", ())
    cfg = yaml.safe_load((tmp_path / "config.yaml").read_text())
    number = len(load_train_crops(("street_tiny_train",)))
    assert cfg["TEST"]["EVAL_EPOCHS"] == 10
    assert cfg["TEST"]["EVAL_PERIOD"] == round(10 * number / 8)


def test_a_person_search_starts_from_it(trained, tmp_path):
    weights = trained[0] / "model_final.pth"
    opts = "SOLVER.MAX_ITER", 1, "DATASETS.TEST", (), "OUTPUT_DIR", tmp_path
    train_net.main(arguments("MODEL.WEIGHTS", weights, *opts))
    log = (tmp_path / "log.txt").read_text()
    assert "weights: backbone.res3 <- backbone.res3" in log
    assert "weights: roi_heads.reid.net.res5 <- reid.net.res5" in log
    assert "weights: roi_heads.reid.pooler.neck.res3 <- backbone.res3" in log
    assert "taken by name: roi_heads.reid.head (4)" in log


def test_self_supervised_pre_training_starts_a_person_search(tmp_path):
    """Two views of every box; base and tail are handed on, projector and predictor are not."""
    config = REPOSITORY / "configs" / "SelfSupervised-Pretrain" / "Street.yaml"
    folder = tmp_path / "pretrained"
    found = train_net.main(
        arguments(
            *("INPUT.REID.CROP_CACHE", tmp_path / "crops", "INPUT.REID.SIZE", (48, 24)),
            *("SOLVER.IMS_PER_BATCH", 8, "SOLVER.MAX_ITER", 3, "OUTPUT_DIR", folder),
            config=config,
        )
    )
    first = json.loads((folder / "metrics.json").read_text().splitlines()[0])
    assert -1 <= first["total_loss"] <= 1 and first["simsiam/spread"] > 0.5
    assert 0 < found["reid"]["mAP"] <= 100
    opts = "SOLVER.MAX_ITER", 1, "DATASETS.TEST", (), "OUTPUT_DIR", tmp_path
    train_net.main(arguments("MODEL.WEIGHTS", folder / "model_final.pth", *opts))
    log = (tmp_path / "log.txt").read_text()
    assert "weights: backbone.res3 <- backbone.res3" in log
    assert "weights: roi_heads.reid.net.res5 <- reid.net.res5" in log
    assert "simsiam" not in log and "projector" not in log
