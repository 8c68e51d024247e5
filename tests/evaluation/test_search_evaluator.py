"""The evaluator with models whose answers are known: all-knowing, blind, confused, undecided."""

import csv
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from street_runs import registered

from person_search.data import build_test_loader
from person_search.data.readers import register_all
from person_search.errors import ConfigError, ResultsError
from person_search.evaluation import (
    CBGM,
    KReciprocal,
    SearchEvaluator,
    SearchResults,
    adapt_results,
    build_evaluator,
    check_test_settings,
    evaluate_detection,
    evaluate_search,
)
from person_search.evaluation.search_evaluator import query_context

PRW, CUHK = "street_tiny_test", "street_tiny_cuhk_test"
INPUT = ("INPUT.MIN_SIZE_TEST", 120, "INPUT.MAX_SIZE_TEST", 160, "DATALOADER.NUM_WORKERS", 0)


class Oracle(torch.nn.Module):
    """Answers with the ground truth; an identity is one axis of the space, no identity another.

    Args:
        name: the test set.
        blind: finds nobody, but embeds the boxes that it is given.
        confused: takes each detected person for the next one.
        undecided: all persons look the same.
        score: of every detection.
    """

    def __init__(self, name, *, blind=False, confused=False, undecided=False, score=0.9):
        super().__init__()
        self.frames = DatasetCatalog.get(name)
        self.dim = MetadataCatalog.get(name).num_person_ids + 1
        self.blind, self.confused, self.undecided, self.score = blind, confused, undecided, score

    def embed(self, ids: np.ndarray) -> torch.Tensor:
        return torch.eye(self.dim)[0 * ids if self.undecided else ids]  # -1 is the last axis

    def forward(self, inputs: list[dict]) -> list[dict]:
        return [self.look_at(x) for x in inputs]

    def look_at(self, x: dict) -> dict:
        persons = self.frames[x["frame_index"]]["annotations"]
        boxes = np.array([p["bbox"] for p in persons]).reshape(-1, 4)
        ids = np.array([p["person_id"] for p in persons], dtype=np.int64)
        found = Instances((x["height"], x["width"]))
        seen = slice(0, 0 if self.blind else None)
        found.pred_boxes = Boxes(torch.as_tensor(boxes[seen], dtype=torch.float32))
        found.scores = torch.full((len(found.pred_boxes),), self.score)
        next_ids = np.where(ids < 0, ids, (ids + 1) % (self.dim - 1))
        found.pred_embeds = self.embed((next_ids if self.confused else ids)[seen])
        out = {"instances": found}
        for key in ("query", "gt"):
            if f"{key}_boxes" in x:
                given = x[f"{key}_boxes"].numpy() * x["height"] / x["image"].shape[1]
                distance = np.abs(given[:, None] - boxes).max(axis=2)
                assert (distance.min(axis=1, initial=0 if len(given) == 0 else 9) < 0.01).all()
                nearest = distance.argmin(axis=1) if len(given) else np.zeros(0, np.int64)
                out[f"{key}_embeds"] = self.embed(ids[nearest])
        return out


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


@pytest.fixture
def evaluate(tiny_cfg, tmp_path):
    """``evaluate(name, *opts, **oracle)`` -> the metrics; the files are in tmp_path."""

    def run(name: str = PRW, *opts, **oracle) -> dict:
        cfg = tiny_cfg(*INPUT, *opts)
        evaluator = build_evaluator(cfg, name, str(tmp_path))
        return inference_on_dataset(Oracle(name, **oracle), build_test_loader(cfg, name), evaluator)

    return run


PERFECT = {"mAP": 100, "top1": 100, "top5": 100, "top10": 100}


# ------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize("name", [PRW, CUHK])
def test_an_all_knowing_model_has_100_percent(evaluate, name):
    found = evaluate(name)
    assert list(found) == ["search", "detection"]
    assert found["search"] == pytest.approx(PERFECT)
    assert found["detection"] == pytest.approx({"recall": 100, "AP": 100, "AP_coco": 100})


def test_a_blind_model_has_nothing_but_what_it_is_given(evaluate):
    found = evaluate(PRW, "TEST.SEARCH.GT_BOXES", True, blind=True)
    assert found["search"] == {"mAP": 0, "top1": 0, "top5": 0, "top10": 0}
    assert found["detection"] == {"recall": 0, "AP": 0, "AP_coco": 0}
    assert found["search_gt"] == pytest.approx(PERFECT)


def test_an_undecided_model_has_the_share_of_its_targets(evaluate):
    """All similarities are equal: AP is the precision at the end of the one step there is."""
    found = evaluate(PRW, undecided=True)
    frames = DatasetCatalog.get(PRW)
    (protocol,) = [MetadataCatalog.get(PRW).protocols["regular"]()]
    expected = []
    for frame, person in zip(protocol.query_frames, protocol.query_ids, strict=True):
        others = [p for k, f in enumerate(frames) if k != frame for p in f["annotations"]]
        expected.append(np.mean([p["person_id"] == person for p in others]))
    assert found["search"]["mAP"] == pytest.approx(100 * np.mean(expected))
    assert 0 < found["search"]["mAP"] < 30


@pytest.mark.parametrize("name", [PRW, CUHK])
def test_a_confused_model_finds_the_wrong_person_first(evaluate, name):
    found = evaluate(name, confused=True)
    assert found["search"]["top1"] == 0
    assert found["search"]["mAP"] < 30
    assert found["detection"]["recall"] == pytest.approx(100)


def test_weak_detections_count_for_the_detection_curve_alone(evaluate):
    found = evaluate(PRW, score=0.4)
    assert found["search"]["mAP"] == found["detection"]["recall"] == 0
    assert found["detection"]["AP"] == pytest.approx(100)
    found = evaluate(PRW, "TEST.SEARCH.SCORE_THRESH", 0.3, score=0.4)
    assert found["search"] == pytest.approx(PERFECT)


# ------------------------------------------------------------------- protocols, variants and files


def read_report(folder: Path, name: str) -> dict:
    return json.loads((folder / f"search_{name}.json").read_text())


def read_queries(folder: Path, name: str, task: str) -> list[dict]:
    with open(folder / f"queries_{name}_{task}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_all_protocols_of_prws_layout_in_one_run(evaluate, tmp_path):
    found = evaluate(PRW, "TEST.SEARCH.PROTOCOLS", ("all",))
    assert list(found) == ["search", "search_multi_view", "detection"]
    searches = read_report(tmp_path, PRW)["search"]
    rules = {task: found["protocol"]["gallery"] for task, found in searches.items()}
    assert rules == {
        "search": "all frames but the query's own",
        "search_multi_view": "all frames of other cameras",
    }
    # Two cameras take turns in 24 frames.
    assert searches["search"]["protocol"]["gallery_size"]["min"] == 23
    assert searches["search_multi_view"]["protocol"]["gallery_size"]["max"] == 12


def test_all_protocols_of_cuhk_sysus_layout_in_one_run(evaluate, tmp_path):
    """They do not ask the same queries: "occlusion" and "resolution" are a share of them."""
    found = evaluate(CUHK, "TEST.SEARCH.PROTOCOLS", ("all",))
    names = list(MetadataCatalog.get(CUHK).protocols)
    tasks = ["search", *(f"search_{name}" for name in names[1:])]
    assert list(found) == [*tasks, "detection"]
    assert {"search_full", "search_occlusion", "search_resolution"} < set(tasks)
    for task, protocol_name in zip(tasks, names, strict=True):
        protocol = MetadataCatalog.get(CUHK).protocols[protocol_name]()
        assert found[task] == pytest.approx(PERFECT)
        rows = read_queries(tmp_path, CUHK, task)
        assert [int(row["person_id"]) for row in rows] == protocol.query_ids.tolist()
    assert len(read_queries(tmp_path, CUHK, "search_occlusion")) == 1
    assert len(read_queries(tmp_path, CUHK, "search")) == 6


def test_every_number_in_the_json_stands_beside_its_protocol(evaluate, tmp_path):
    evaluate(
        *(CUHK, "TEST.SEARCH.GT_BOXES", True, "TEST.SEARCH.CBGM", (10, 3)),
        *("TEST.SEARCH.PROTOCOLS", ("all",), "TEST.SEARCH.SCORE_WEIGHTING", True),
    )
    report = read_report(tmp_path, CUHK)
    assert report["data set"] == CUHK
    expected = {"mAP", "top1", "top5", "top10", "protocol"}
    said = {"name", "gallery", "gallery_size", "conventions", "boxes", "det_thresh"}
    said |= {"score_weighting", "cbgm", "rerank", "adapted"}
    said |= {"n_queries", "n_unembedded", "n_undefined"}
    assert len(report["search"]) == 3 * len(MetadataCatalog.get(CUHK).protocols)
    for task, values in report["search"].items():
        assert set(values) == expected
        assert set(values["protocol"]) == said
        assert values["protocol"]["name"].startswith(CUHK)
        is_gt = task.endswith("_gt")
        assert values["protocol"]["boxes"] == ("ground truth" if is_gt else "detections")
        assert values["protocol"]["det_thresh"] == (None if is_gt else 0.5)
        assert values["protocol"]["score_weighting"] == (not is_gt)
        context = {"k1": 10, "k2": 3} if task.endswith("_cbgm") else None
        assert values["protocol"]["cbgm"] == context
    assert "score >= 0.5" in report["detection"]["protocol"]


@pytest.mark.parametrize("name", [PRW, CUHK])
def test_variants_stand_beside_the_plain_search(evaluate, name):
    found = evaluate(
        *(name, "TEST.SEARCH.GT_BOXES", True, "TEST.SEARCH.CBGM", (30, 1)),
    )
    assert list(found) == ["search", "search_gt", "search_cbgm", "detection"]
    # Context of one person, the query itself, changes no order.
    assert found["search_gt"] == found["search_cbgm"] == found["search"] == pytest.approx(PERFECT)


def test_the_conventions_are_said(evaluate, tmp_path):
    evaluate(CUHK, "TEST.SEARCH.CONVENTIONS", "reference")
    assert (
        "counted twice"
        in read_report(tmp_path, CUHK)["search"]["search"]["protocol"]["conventions"]
    )


def test_the_csv_has_one_row_per_query(evaluate, tmp_path):
    evaluate(PRW, confused=True)
    protocol = MetadataCatalog.get(PRW).protocols["regular"]()
    frames = DatasetCatalog.get(PRW)
    rows = read_queries(tmp_path, PRW, "search")
    assert list(rows[0]) == "query frame x1 y1 x2 y2 person_id AP top1 top5 top10".split()
    assert len(rows) == len(protocol.query_ids) == 12
    mean_ap = read_report(tmp_path, PRW)["search"]["search"]["mAP"]
    assert np.mean([float(row["AP"]) for row in rows]) == pytest.approx(mean_ap, abs=1e-6)
    for q, row in enumerate(rows):
        assert int(row["query"]) == q
        assert row["frame"] == frames[protocol.query_frames[q]]["image_id"]
        box = [float(row[key]) for key in ("x1", "y1", "x2", "y2")]
        np.testing.assert_allclose(box, protocol.query_boxes[q], rtol=1e-5)
        assert row["top1"] == "0"


@pytest.mark.parametrize("name", [PRW, CUHK])
def test_the_saved_results_give_the_same_numbers_again(evaluate, tmp_path, name):
    options = ("TEST.SEARCH.CBGM", (5, 2), "TEST.SEARCH.RERANK", (5, 2, 0.3, 50))
    found = evaluate(name, *options, "TEST.SEARCH.GT_BOXES", True, confused=True)
    results = SearchResults.load(tmp_path / f"results_{name}.npz")
    assert results.protocol.startswith(name)
    variants = {"": {}, "_gt": {"use_gt_boxes": True}, "_cbgm": {"cbgm": CBGM(5, 2)}}
    variants["_rerank"] = {"rerank": KReciprocal(5, 2, 0.3, 50)}
    for variant, kwargs in variants.items():
        again = evaluate_search(results, **kwargs).summary()
        assert {k: 100 * v for k, v in again.items()} == found[f"search{variant}"]
    assert 100 * evaluate_detection(results).recall == found["detection"]["recall"]


def test_adapted_numbers_stand_beside_the_plain_ones_and_say_so(evaluate, tmp_path):
    plain = evaluate(PRW, confused=True)
    found = evaluate(PRW, "TEST.SEARCH.ADAPT", True, "TEST.SEARCH.GT_BOXES", True, confused=True)
    assert found["search"] == plain["search"]
    results = SearchResults.load(tmp_path / f"results_{PRW}.npz")
    assert results.adapted == ""  # what is saved are the model's own embeddings
    adapted = adapt_results(results)
    for variant, kwargs in {"": {}, "_gt": {"use_gt_boxes": True}}.items():
        expected = evaluate_search(adapted, **kwargs).summary()
        assert found[f"search{variant}_adapted"] == {k: 100 * v for k, v in expected.items()}
    report = json.loads((tmp_path / f"search_{PRW}.json").read_text())["search"]
    assert report["search"]["protocol"]["adapted"] is None
    assert report["search_adapted"]["protocol"]["adapted"] == adapted.adapted != ""


def test_adapting_looks_at_no_label(evaluate, tmp_path):
    evaluate(PRW, "TEST.SEARCH.GT_BOXES", True, confused=True)
    results = SearchResults.load(tmp_path / f"results_{PRW}.npz")
    blind = replace(
        results,
        gt_ids=np.zeros_like(results.gt_ids),
        query_ids=np.zeros_like(results.query_ids),
        gt_boxes=results.gt_boxes + 7,
    )
    for name in ("det_embs", "query_embs", "gt_embs"):
        found, again = (getattr(adapt_results(r), name) for r in (results, blind))
        np.testing.assert_array_equal(found, again)


def test_context_is_the_query_and_then_who_else_is_in_its_frame(evaluate, tmp_path):
    evaluate(PRW)
    results = SearchResults.load(tmp_path / f"results_{PRW}.npz")
    assert results.qctx_dets is None
    dets = results.dets.copy()
    dets[:, 4] = np.random.default_rng(0).permutation(len(dets)) / len(dets)
    results = replace(results, dets=dets)
    context = query_context(results)
    bounds = context["qctx_offsets"]
    sizes = set()
    for q, frame in enumerate(results.query_frame_index):
        boxes = context["qctx_dets"][bounds[q] : bounds[q + 1]]
        embeds = context["qctx_embs"][bounds[q] : bounds[q + 1]]
        np.testing.assert_allclose(boxes[0], [*results.query_boxes[q], 1], rtol=1e-6)
        np.testing.assert_array_equal(embeds[0], results.query_embs[q])
        rows = np.arange(*results.det_offsets[frame : frame + 2])
        rows = rows[np.argsort(-dets[rows, 4])]
        # The all-knowing model's detection of the query is the query box; nobody else is near it.
        itself = np.abs(dets[rows, :4] - results.query_boxes[q]).max(axis=1) < 0.01
        assert itself.sum() == 1
        np.testing.assert_array_equal(boxes[1:], dets[rows[~itself]])
        np.testing.assert_array_equal(embeds[1:], results.det_embs[rows[~itself]])
        sizes.add(len(boxes))
    assert len(sizes) > 1


def test_only_what_was_asked_for_is_written(evaluate, tmp_path):
    evaluate(PRW, "TEST.SEARCH.SAVE_RESULTS", False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"queries_{PRW}_search.csv",
        f"search_{PRW}.json",
    ]


def test_without_a_folder_nothing_is_written(tiny_cfg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = tiny_cfg(*INPUT)
    evaluator = SearchEvaluator(cfg, PRW, None)
    found = inference_on_dataset(Oracle(PRW), build_test_loader(cfg, PRW), evaluator)
    assert found["search"] == pytest.approx(PERFECT)
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_logged_with_its_protocols(evaluate, caplog):
    with caplog.at_level("INFO", logger="person_search.evaluation.search_evaluator"):
        evaluate(PRW, "TEST.SEARCH.PROTOCOLS", ("all",))
    table = next(r.getMessage() for r in caplog.records if "Person search on" in r.getMessage())
    for text in (
        "mAP",
        "search_multi_view",
        "all frames but the query's own; 23 frames; 12 queries; detections; score >= 0.5",
        "all frames of other cameras",
    ):
        assert text in table


# ------------------------------------------------------------------------------------------- errors


def test_missing_frames_are_an_error_that_counts_them(tiny_cfg):
    cfg = tiny_cfg(*INPUT)
    evaluator = SearchEvaluator(cfg, PRW, None)
    evaluator.reset()
    inputs = next(iter(build_test_loader(cfg, PRW)))
    evaluator.process(inputs, Oracle(PRW)(inputs))
    with pytest.raises(ResultsError, match=f"{PRW} has 24 frames.*run on 1 of them"):
        evaluator.evaluate()


def test_reset_forgets_the_frames_of_an_earlier_run(tiny_cfg):
    cfg = tiny_cfg(*INPUT)
    evaluator = SearchEvaluator(cfg, PRW, None)
    loader = build_test_loader(cfg, PRW)
    inference_on_dataset(Oracle(PRW), loader, evaluator)
    evaluator.reset()
    inputs = next(iter(loader))
    evaluator.process(inputs, Oracle(PRW)(inputs))
    with pytest.raises(ResultsError, match="run on 1 of them"):
        evaluator.evaluate()


@pytest.mark.parametrize(
    "opts, message",
    [
        (("TEST.SEARCH.CONVENTIONS", "seqnet"), "CONVENTIONS is 'seqnet'; legal: corrected, ref"),
        (("TEST.SEARCH.CBGM", (30,)), r"CBGM is \(30,\)"),
        (("TEST.SEARCH.PROTOCOLS", ("gallery_3",)), "no protocol gallery_3"),
    ],
)
def test_illegal_options_are_errors_that_say_what_is_legal(tiny_cfg, opts, message):
    for check in (build_evaluator, check_test_settings):
        with pytest.raises(ConfigError, match=message):
            check(tiny_cfg(*opts), PRW)


def test_a_set_of_another_kind_is_an_error_that_names_it(tiny_cfg):
    with pytest.raises(ConfigError, match="DATASETS.TEST: coco_2017_val.*'coco'"):
        build_evaluator(tiny_cfg(), "coco_2017_val")


# ------------------------------------------------------------------------------------ two processes


def work_on_a_rank(rank: int, cfg, root: Path, meeting: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    register_all(root)
    dist.init_process_group(
        "gloo", f"file://{meeting}", timedelta(seconds=60), world_size=2, rank=rank
    )
    comm.create_local_process_group(2)
    evaluator = build_evaluator(cfg, CUHK, str(folder))
    loader = build_test_loader(cfg, CUHK)
    assert 0 < sum(map(len, loader.batch_sampler)) < 24
    found = inference_on_dataset(Oracle(CUHK, confused=True), loader, evaluator)
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    dist.barrier()  # a rank that leaves early can take the other one with it
    dist.destroy_process_group()


def test_two_processes_give_what_one_gives(tiny_cfg, street, tmp_path):
    cfg = tiny_cfg(
        *(*INPUT, "TEST.SEARCH.GT_BOXES", True, "TEST.SEARCH.CBGM", (10, 3)),
        *("TEST.SEARCH.PROTOCOLS", ("all",), "TEST.IMS_PER_BATCH", 5),
    )
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    evaluator = build_evaluator(cfg, CUHK, str(one))
    found = inference_on_dataset(
        Oracle(CUHK, confused=True), build_test_loader(cfg, CUHK), evaluator
    )
    args = cfg, street, tmp_path / "meeting", two
    torch.multiprocessing.spawn(work_on_a_rank, args, nprocs=2)
    assert json.loads((two / "rank0.json").read_text()) == found
    assert json.loads((two / "rank1.json").read_text()) == {}
    for path in one.iterdir():
        if path.suffix == ".npz":
            with np.load(path) as a, np.load(two / path.name) as b:
                assert a.files == b.files
                for key in a.files:
                    np.testing.assert_array_equal(a[key], b[key])
        else:
            assert path.read_text() == (two / path.name).read_text()
    assert {p.name for p in two.iterdir()} == {p.name for p in one.iterdir()} | {
        "rank0.json",
        "rank1.json",
    }
