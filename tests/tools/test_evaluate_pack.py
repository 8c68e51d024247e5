"""tools/evaluate_pack.py: the evaluator's layout and figures, for packs."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from street_runs import registered
from tiny_packs import two_step

from person_search import packs
from person_search.errors import DatasetError
from person_search.evaluation import SearchResults, evaluate_search

PATH = Path(__file__).resolve().parents[2] / "tools" / "evaluate_pack.py"
spec = importlib.util.spec_from_file_location("evaluate_pack", PATH)
evaluate_pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(evaluate_pack)


@pytest.fixture
def searcher(tmp_path):
    return packs.open_pack(two_step(tmp_path / "pack"), score_thresh=0.05)


def test_a_test_set_gives_the_saved_results_of_any_model(searcher, street_root, tmp_path):
    with registered(street_root):
        metrics = evaluate_pack.evaluate_frames(
            searcher, "street_tiny_test", 0.3, str(tmp_path / "out")
        )
        with pytest.raises(DatasetError, match="no_such_set"):
            evaluate_pack.evaluate_frames(searcher, "no_such_set", 0.3, str(tmp_path))
    results = SearchResults.load(tmp_path / "out" / "results_street_tiny_test.npz")
    assert results.gt_embs.shape == (len(results.gt_ids), 3)
    assert results.dets[:, 4].min() >= 0.05
    again = evaluate_search(results, use_gt_boxes=True).summary()
    assert metrics["search_gt"]["mAP"] == pytest.approx(100 * again["mAP"])
    again = evaluate_search(results, det_thresh=0.3).summary()
    assert metrics["search"]["mAP"] == pytest.approx(100 * again["mAP"])


def test_crops_are_searched_in_those_of_other_cameras(searcher, tmp_path):
    # Embeddings are mean colors: of person a both cameras see blue. Person b is green for camera 1,
    # but for camera 2 more like a, so that b's crops find the other person first.
    colors = {
        ("a", 1): (255, 0, 0),
        ("a", 2): (200, 0, 0),
        ("b", 1): (0, 255, 0),
        ("b", 2): (200, 30, 0),
    }
    for (person, camera), color in colors.items():
        (tmp_path / "crops" / person).mkdir(parents=True, exist_ok=True)
        crop = np.full((16, 8, 3), color, np.uint8)
        cv2.imwrite(str(tmp_path / "crops" / person / f"{camera}_1.png"), crop)
    folder = [tmp_path / "crops"]
    metrics = evaluate_pack.evaluate_crops(searcher, folder, r"(\d)_")
    # a1 finds a2 first; a2 a1; b1 finds b2 first; b2 finds a1 first, then b1: 1/2.
    assert metrics["mAP"] == pytest.approx(100 * 3.5 / 4)
    assert metrics["top1"] == pytest.approx(75)
    assert metrics["top5"] == pytest.approx(100)
    with pytest.raises(DatasetError, match="finds no camera"):
        evaluate_pack.evaluate_crops(searcher, folder, r"cam(\d)")
    with pytest.raises(DatasetError, match="two or more are needed"):
        evaluate_pack.evaluate_crops(searcher, folder, r"_(\d)")
