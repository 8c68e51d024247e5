"""tools/benchmark.py: its figures compare like with like. Times themselves are not tested."""

import json
import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import benchmark
from benchmarks import common, evaluator, hybrid_step, inference, memory, synthetic, training_step
from street_runs import CONFIG, OPTS, REPOSITORY, registered

from person_search.errors import PersonSearchError
from person_search.evaluation import evaluate_detection

STL = CONFIG.with_name("stl.yaml")
ALIGN_PS = CONFIG.with_name("align_ps.yaml")
CROPS = REPOSITORY / "configs" / "ReID-Pretrain" / "Street.yaml"
SMALL = {
    "prw": synthetic.Size(60, 250, 160, 8, 20, 300, None, 6),
    "cuhk100": synthetic.Size(60, 250, 100, 20, 20, 300, 30, 0),
}


@pytest.mark.parametrize("protocol", SMALL)
def test_evaluator_and_loop_agree(protocol, monkeypatch, capsys):
    for name, size in SMALL.items():
        monkeypatch.setitem(synthetic.SIZES, name, size)
    args = ["evaluator", "--protocol", protocol, "--dim", "16", "--json"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *args])
    benchmark.main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["largest_ap_difference"] < 1e-6
    assert figures["queries"] == figures["loop_queries"] == 20


def test_loop_detection_agrees():
    results = synthetic.synthetic_results(SMALL["prw"], dim=4)
    ours = evaluate_detection(results)
    np.testing.assert_allclose((ours.recall, ours.ap), evaluator.loop_detection(results))


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a part with tiny models; returns its JSON."""

    def run(part, configs, *args, opts=()):
        line = [part, "--json", *args, "--config-file", *configs, "--opts", *OPTS, *opts]
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, line)])
        benchmark.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def street(street_root):
    with registered(street_root):
        yield


def test_the_crop_loaders_give_the_same_crops(street, tmp_path, run):
    opts = ["INPUT.REID.CROP_CACHE", tmp_path, "SOLVER.IMS_PER_BATCH", 8]
    args = ["--batches", 2, "--decoded-batches", 1]
    (row,) = run("crop_loader", [CROPS], *args, opts=opts)["rows"]
    assert row["same batches"] is True and row["batch"] == 8
    assert row["ratio"] == row["cached crops/s"] / row["decoded crops/s"]
    with pytest.raises(PersonSearchError, match="trains on frames"):
        run("crop_loader", [CONFIG])


def test_the_training_step_is_the_sum_of_its_parts(street, tmp_path, monkeypatch, run):
    monkeypatch.setattr(training_step, "in_fresh_process", lambda function, *args: function(*args))
    opts = ["INPUT.REID.CROP_CACHE", tmp_path, "INPUT.REID.SIZE", (64, 32)]
    report = run("training_step", [CONFIG, CROPS], "--steps", 2, "--warmup", 1, opts=opts)
    first, second = report["rows"]
    for row, unit in ((first, "frames/s"), (second, "crops/s")):
        parts = sum(row[f"{part} ms"] for part in training_step.PARTS)
        assert row["step ms"] == pytest.approx(parts)
        assert row[unit] == pytest.approx(1000 * 4 / row["step ms"])
        assert row["step ratio"] == pytest.approx(row["step ms"] / first["step ms"])


def test_recipes_for_memory_are_keys_that_a_step_obeys(street, monkeypatch, run):
    seen = []

    def figures(cfg, model, batches):
        keys = cfg.SOLVER.ACCUMULATE, len(cfg.MODEL.BACKBONE.CHECKPOINT_STAGES)
        seen.append((*keys, cfg.SOLVER.AMP.ENABLED, len(batches), len(batches[0])))
        return dict(zip(common.STEP, (len(seen), 0.5 * len(seen)), strict=True))

    monkeypatch.setattr(memory, "in_fresh_process", lambda function, *args: function(*args))
    monkeypatch.setattr(memory, "step_figures", figures)
    rows = run("memory", [CONFIG], "--steps", 3)["rows"]
    assert [row["recipe"] for row in rows] == list(memory.RECIPES)
    assert seen[0] == (1, 0, False, 3, 4) and seen[-1] == (4, 4, True, 3, 4)
    assert [row["memory ratio"] for row in rows] == list(range(1, 8))


def test_a_step_is_trained_on_every_batch(tiny_cfg):
    """The memory that it takes is that beyond what was taken before, so never less than none."""
    model = nn.Linear(1, 1)
    model.forward = lambda batch: {"loss": model.weight.sum() * len(batch)}
    before = model.weight.item()
    opts = ("SOLVER.BASE_LR", 0.1, "SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0)
    found = common.step_figures(tiny_cfg(*opts), model, [[1, 2], [3]])
    assert model.weight.item() == pytest.approx(before - 0.1 * 3)
    assert found["step ms"] >= 0 and found["memory GiB"] >= 0


def test_one_view_weighs_kinds_as_one_batch():
    class Model(nn.Module):
        def forward(self, batch):
            return {"loss": torch.tensor(float(sum(batch)) / len(batch))}

    batch = [{"kind": "scene", "views": [1, 9]}, {"kind": "crop", "views": [2, 9]}]
    batch.append({"kind": "crop", "views": [6, 9]})
    losses = hybrid_step.FirstViews(Model())(batch)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {"scene/loss": 1 / 3, "crop/loss": 8 / 3}
    )


def test_a_fresh_process_is_another_one():
    assert common.in_fresh_process(os.getpid) != os.getpid()


def test_inference_stages_add_up_at_a_fixed_number_of_persons(run):
    args = ["--sizes", "160x120", "--persons", 3, "--batch", 2, "--autocast"]
    report = run("inference", [STL, CONFIG, ALIGN_PS], *args, "--repeats", 1, "--warmup", 0)
    rows = report["rows"]
    variants = [(Path(row["config"]).stem, row["precision"]) for row in rows]
    assert variants == list(product(("stl", "stl_mrfp", "align_ps"), ("fp32", "bf16")))
    for row in rows:
        stages = sum(row[f"{stage} ms"] for stage in inference.STAGES)
        assert row["total ms"] == pytest.approx(stages)
        assert row["frames/s"] == pytest.approx(1000 / stages)
        assert row["ratio"] == pytest.approx(row["total ms"] / rows[0]["total ms"])
        has_box_head = "align_ps" not in row["config"]
        assert all(row[f"{stage} ms"] > 0 for stage in ("base", "proposals", "re-ID"))
        assert (row["box head ms"] > 0) == has_box_head and row["box head ms"] >= 0
    assert "3 persons each" in report["note"]


def test_inference_is_timed_in_the_precision_that_it_says(run, monkeypatch):
    seen, timed_pass = [], inference.timed_pass

    def noting(model, *args):
        handle = model.backbone.register_forward_hook(
            lambda *call: seen.append(next(iter(call[-1].values())).dtype)
        )
        timed_pass(model, *args)
        handle.remove()

    monkeypatch.setattr(inference, "timed_pass", noting)
    args = ["--sizes", "160x120", "--persons", 3, "--autocast", "--repeats", 1, "--warmup", 0]
    run("inference", [STL], *args)
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    "config, size, persons, message",
    [
        (CONFIG, "160x120", 30, "instead of --persons 30: choose fewer"),
        (CONFIG, "160", 3, "write WIDTHxHEIGHT"),
        (CROPS, "160x120", 3, "finds no persons"),
    ],
)
def test_inference_refuses_what_it_cannot_measure(config, size, persons, message, run):
    with pytest.raises(PersonSearchError, match=message):
        run("inference", [config], "--sizes", size, "--persons", persons, "--repeats", 1)
