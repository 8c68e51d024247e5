"""A run that was stopped and resumed equals one that was not, bit for bit (DESIGN, 3.6)."""

import shutil
from pathlib import Path

import pytest
import torch
from detectron2.utils.env import seed_all_rng
from street_runs import registered, train_net

from person_search.street import draw_domain


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


@pytest.fixture
def train(tiny_cfg):
    """``train(folder, *opts)`` trains 4 iterations, with a checkpoint and an evaluation after 2."""

    def run(
        folder: Path,
        *opts,
        seed: int = 1,
        workers: int = 0,
        resume: bool = False,
        config: str = "Street/stl_mrfp.yaml",
    ) -> dict:
        cfg = tiny_cfg(
            *("DATASETS.TRAIN", ("street_tiny_train",), "DATASETS.TEST", ("street_tiny_test",)),
            *("INPUT.MIN_SIZE_TRAIN", (96, 120), "INPUT.MAX_SIZE_TRAIN", 160),
            *("INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128),
            *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.BASE_LR", 0.02),
            *("SOLVER.MAX_ITER", 4, "SOLVER.STEPS", (3,), "SOLVER.WARMUP_ITERS", 2),
            *("SOLVER.CHECKPOINT_PERIOD", 2, "TEST.EVAL_PERIOD", 2),
            *("DATALOADER.NUM_WORKERS", workers, "SEED", seed, "OUTPUT_DIR", str(folder)),
            *opts,
            num_ids=-1,
            config=config,
        )
        seed_all_rng(100 if resume else seed)  # a resumed process starts with other numbers
        folder.mkdir(exist_ok=True)
        trainer = train_net.Trainer(cfg)
        trainer.resume_or_load(resume=resume)
        assert trainer.start_iter == (2 if resume else 0)
        trainer.train()
        return torch.load(folder / "model_final.pth")

    return run


def differences(a, b, path: str = "") -> list[str]:
    """Where two nests of dicts, lists, tensors and numbers differ."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [d for key in a for d in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        pairs = enumerate(zip(a, b, strict=True))
        return [d for k, (x, y) in pairs for d in differences(x, y, f"{path}/{k}")]
    return [] if a == b else [path]


def stop_after_two(whole: Path, stopped: Path) -> Path:
    """A folder as if its run had ended when ``whole`` had made its first checkpoint."""
    stopped.mkdir()
    shutil.copy(whole / "model_0000001.pth", stopped)
    (stopped / "last_checkpoint").write_text("model_0000001.pth")
    return stopped


@pytest.mark.parametrize("workers", [0, 1])
def test_two_iterations_and_two_more_equal_four(train, tmp_path, workers):
    whole = train(tmp_path / "whole", workers=workers)
    stopped = stop_after_two(tmp_path / "whole", tmp_path / "stopped")
    resumed = train(stopped, workers=workers, resume=True)
    assert differences(whole, resumed) == []
    # Weights, running statistics, momentum and the schedule are in what was compared.
    assert whole["iteration"] == 3
    assert len(whole["trainer"]["_trainer"]["optimizer"]["state"]) > 50
    assert any("running_mean" in key for key in whole["model"])


def test_a_seed_names_a_run(train, tmp_path):
    first = train(tmp_path / "first")
    assert differences(first, train(tmp_path / "again", workers=1)) == []
    assert len(differences(first["model"], train(tmp_path / "other", seed=2)["model"])) > 50


def test_table_queue_and_position_are_resumed(train, tmp_path):
    config = "Street/oim.yaml"
    whole = train(tmp_path / "whole", config=config)
    stopped = stop_after_two(tmp_path / "whole", tmp_path / "stopped")
    memory = {k: v for k, v in whole["model"].items() if ".oim." in k}
    assert [k.split(".")[-1] for k in memory] == ["table", "queue", "position"]
    assert all(v.any() for v in memory.values())
    early = torch.load(stopped / "model_0000001.pth")["model"]
    assert len(differences(early, whole["model"])) > 50
    assert differences(whole, train(stopped, resume=True, config=config)) == []


def test_hybrid_pre_training_is_resumed_and_can_be_evaluated(train, street, tmp_path):
    domains = ("night", "dusk", "web")
    for domain in domains:
        draw_domain(street, "tiny", domain)
    opts = (
        *("DATASETS.TRAIN", tuple(f"street_tiny_{domain}_train" for domain in domains)),
        *("SOLVER.IMS_PER_BATCH", 4, "DATALOADER.HYBRID.SCENES_PER_BATCH", 1),
        *("INPUT.HYBRID.SCENE_SIZE", (96, 128), "INPUT.HYBRID.CANVAS_SIZE", (64, 32)),
        *("MODEL.HYBRID.ALIGN", ("intra", "inter")),
    )
    config = "Hybrid-Pretrain/Street.yaml"
    whole = train(tmp_path / "whole", *opts, config=config)
    parts = {key.split(".")[0] for key in whole["model"]}
    assert parts >= {"predictor", "alignments", "roi_heads", "backbone"}
    assert len(whole["model"]["roi_heads.reid.head.oim.table"]) == 8  # those of dusk
    stopped = stop_after_two(tmp_path / "whole", tmp_path / "stopped")
    assert differences(whole, train(stopped, *opts, resume=True, config=config)) == []
