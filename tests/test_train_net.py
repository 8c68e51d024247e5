"""train_net.py from end to end, and detectron2's own programs on what it leaves."""

import json
from pathlib import Path
from statistics import mean

import cv2
import pytest
import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, build_detection_train_loader
from detectron2.engine import DefaultPredictor, DefaultTrainer, HookBase
from detectron2.modeling import build_model
from street_runs import arguments, registered, train_net

from person_search import add_person_search_config
from person_search.data import PersonSearchMapper
from person_search.evaluation import SearchResults

TEST = "street_tiny_test"


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


class Recorder(HookBase):
    """Notes the loss of every step."""

    def __init__(self):
        self.losses = {}

    def after_step(self) -> None:
        loss = self.trainer.storage.history("total_loss").latest()
        self.losses[self.trainer.iter] = loss


def train(*opts, **flags) -> tuple[dict, dict[int, float]]:
    """Metrics, and losses by iteration."""
    recorder = Recorder()
    build_hooks = train_net.Trainer.build_hooks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            train_net.Trainer, "build_hooks", lambda self: [*build_hooks(self), recorder]
        )
        return train_net.main(arguments(*opts, **flags)), recorder.losses


@pytest.fixture(scope="module")
def trained(tmp_path_factory, street) -> tuple[Path, dict, dict[int, float]]:
    """Folder, metrics and losses of 20 iterations."""
    folder = tmp_path_factory.mktemp("trained")
    found, losses = train(
        *("SOLVER.MAX_ITER", 20, "SOLVER.CHECKPOINT_PERIOD", 8, "OUTPUT_DIR", folder),
        *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.SEARCH.GT_BOXES", True),
    )
    return folder, found, losses


def dumped_config(folder: Path, *opts) -> CfgNode:
    """The config that a run left, as another program reads it."""
    cfg = get_cfg()
    add_person_search_config(cfg)
    cfg.merge_from_file(folder / "config.yaml")
    cfg.merge_from_list(["MODEL.WEIGHTS", str(folder / "model_final.pth"), *opts])
    return cfg


# ----------------------------------------------------------------------------------------- training


def test_training_learns(trained):
    _, _, losses = trained
    assert list(losses) == list(range(20))
    values = list(losses.values())
    assert mean(values[-5:]) < mean(values[:5])


def test_training_leaves_checkpoints_config_and_metrics(trained):
    folder, found, _ = trained
    names = {path.name for path in folder.iterdir()}
    assert {"model_0000007.pth", "model_0000015.pth", "model_final.pth"} <= names
    assert {"config.yaml", "metrics.json", "log.txt", "last_checkpoint"} <= names
    assert not [name for name in names if "tmp" in name]
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert set(found) == {"search", "search_gt", "detection"}
    assert "Person search on street_tiny_test" in (folder / "log.txt").read_text()
    logged = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    losses = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_id", "total_loss"}
    assert losses < logged[0].keys() and logged[0]["reid/num_labeled"] > 0
    assert logged[-1]["search_gt/mAP"] == found["search_gt"]["mAP"]


def test_resume_goes_on_behind_the_last_checkpoint(trained, tmp_path):
    folder, _, whole = trained
    (tmp_path / "last_checkpoint").write_text("model_0000015.pth")
    (tmp_path / "model_0000015.pth").symlink_to(folder / "model_0000015.pth")
    _, losses = train("SOLVER.MAX_ITER", 20, "OUTPUT_DIR", tmp_path, resume=True)
    assert losses == {k: v for k, v in whole.items() if k >= 16}


def test_resume_without_a_checkpoint_starts_anew(trained, tmp_path):
    _, _, whole = trained
    _, losses = train("SOLVER.MAX_ITER", 2, "OUTPUT_DIR", tmp_path, resume=True)
    assert losses[0] == whole[0]


def test_a_schedule_in_epochs_is_resolved_and_written_down(tmp_path):
    """24 frames in batches of 4: an epoch has 6 iterations."""
    _, losses = train(
        *("SOLVER.EPOCHS", 2, "SOLVER.STEP_EPOCHS", (1,), "SOLVER.MAX_ITER", 7),
        *("OUTPUT_DIR", tmp_path),
    )
    assert len(losses) == 7  # the command line wins
    cfg = dumped_config(tmp_path)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (7, ())  # as OPTS gives the steps too


def test_without_a_gpu_the_cpu_is_taken(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    weights = trained[0] / "model_final.pth"
    opts = "MODEL.DEVICE", "cuda", "MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path
    assert "search" in train_net.main(arguments(*opts, eval_only=True))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["MODEL"]["DEVICE"] == "cpu"
    assert "no GPU found" in (tmp_path / "log.txt").read_text()


# --------------------------------------------------------------------------------------- evaluation


def test_eval_only_gives_the_numbers_of_the_end_of_training(trained, tmp_path):
    folder, at_the_end, _ = trained
    found = train_net.main(
        arguments(
            *("MODEL.WEIGHTS", folder / "model_final.pth", "OUTPUT_DIR", tmp_path),
            *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.SEARCH.GT_BOXES", True),
            eval_only=True,
        )
    )
    assert found == at_the_end
    assert 0 < found["search_gt"]["mAP"] <= 100
    saved = json.loads((tmp_path / "inference" / f"search_{TEST}.json").read_text())
    assert 100 * saved["search"]["search_gt"]["mAP"] == found["search_gt"]["mAP"]


def test_eval_only_needs_no_training_data(trained, tmp_path):
    """The classifier is left out; what is embedded stays the same."""
    folder, at_the_end, _ = trained
    found = train_net.main(
        arguments(
            *("MODEL.WEIGHTS", folder / "model_final.pth", "OUTPUT_DIR", tmp_path),
            *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.SEARCH.GT_BOXES", True),
            *("DATASETS.TRAIN", ("street_large_train",)),
            eval_only=True,
        )
    )
    assert found == at_the_end


def test_batches_of_one_give_what_batches_of_four_give(trained, tmp_path):
    """IBN sees whole scenes: frames of one size, so that no padding changes them."""
    folder, at_the_end, _ = trained
    found = train_net.main(
        arguments(
            *("MODEL.WEIGHTS", folder / "model_final.pth", "OUTPUT_DIR", tmp_path),
            *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.SEARCH.GT_BOXES", True),
            *("TEST.IMS_PER_BATCH", 1),
            eval_only=True,
        )
    )
    for task, values in at_the_end.items():
        assert found[task] == pytest.approx(values, abs=0.01)


# --------------------------------------------------------------------------------- stock detectron2


@pytest.mark.parametrize("num_ids", [-1, 0])
def test_default_predictor_runs_the_checkpoint(trained, num_ids):
    """It finds and embeds what the evaluation found and embedded."""
    folder, _, _ = trained
    predictor = DefaultPredictor(dumped_config(folder, "MODEL.REID.NUM_IDS", num_ids))
    results = SearchResults.load(folder / "inference" / f"results_{TEST}.npz")
    for frame in (0, 7):
        found = predictor(cv2.imread(DatasetCatalog.get(TEST)[frame]["file_name"]))["instances"]
        rows = slice(*results.det_offsets[frame : frame + 2])
        assert len(found) == rows.stop - rows.start > 0
        dets = torch.tensor(results.dets[rows])
        torch.testing.assert_close(found.pred_boxes.tensor, dets[:, :4], rtol=0, atol=0.01)
        torch.testing.assert_close(found.scores, dets[:, 4], rtol=0, atol=1e-4)
        embeds = torch.tensor(results.det_embs[rows])
        assert (found.pred_embeds * embeds).sum(dim=1).min() > 0.9999
        torch.testing.assert_close(found.pred_embeds.norm(dim=1), torch.ones(len(found)))


def test_detection_checkpointer_loads_the_checkpoint(trained, caplog):
    folder, _, _ = trained
    cfg = dumped_config(folder)
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    state = torch.load(cfg.MODEL.WEIGHTS)["model"]
    own = model.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], state[key]) for key in own)


def test_default_trainer_trains_with_our_mapper(trained, tmp_path):
    class StockTrainer(DefaultTrainer):
        @classmethod
        def build_train_loader(cls, cfg):
            return build_detection_train_loader(cfg, mapper=PersonSearchMapper(cfg, True))

    cfg = dumped_config(
        trained[0],
        *("SOLVER.MAX_ITER", 2, "OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", ()),
        *("MODEL.WEIGHTS", ""),
    )
    trainer = StockTrainer(cfg)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert (tmp_path / "model_final.pth").exists()
    after = trainer.model.state_dict()
    for part in ("backbone.", "roi_heads.box_head.", "roi_heads.reid.head.classifier."):
        keys = [k for k in after if k.startswith(part) and k.endswith("weight")]
        assert any(not torch.equal(before[k], after[k]) for k in keys), part
