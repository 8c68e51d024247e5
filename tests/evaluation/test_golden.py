"""Our metrics against outputs of the published evaluator, in its own conventions."""

import numpy as np
import pytest
from search_scenes import SHARED

from person_search.evaluation import (
    CBGM,
    Conventions,
    SearchResults,
    evaluate_detection,
    evaluate_search,
    resolve_galleries,
)
from person_search.protocols import GalleryRule

FILES = sorted((SHARED / "golden").glob("*.npz"))
MODES = {
    "plain": {},
    "cross": {},
    "cbgm": {"cbgm": True},
    "cbgm_cross": {"cbgm": True},
    "gt": {"use_gt_boxes": True},
    "gt_cross": {"use_gt_boxes": True},
    "thr02": {"det_thresh": 0.2},
}
CASES = [
    pytest.param(path, mode, id=f"{path.stem}-{mode}")
    for path in FILES
    for mode in MODES
    if f"out_{mode}_ap" in np.load(path)
]

pytestmark = pytest.mark.skipif(not FILES, reason="needs the research data beside the repository")


def test_every_kind_of_file_is_there():
    assert {path.stem.split("_")[1] for path in FILES} >= {"small", "ties", "nasty", "mid"}


@pytest.mark.parametrize(("path", "mode"), CASES)
def test_search(path, mode):
    golden = np.load(path)
    results = SearchResults.load(path)
    options = dict(MODES[mode])
    if "cbgm" in options:
        options["cbgm"] = CBGM.published(results.gallery)
    rule = GalleryRule.OTHER_CAMERAS if mode.endswith("cross") else None
    galleries = resolve_galleries(results, rule, Conventions.REFERENCE)
    metrics = evaluate_search(results, galleries, **options)

    ap = golden[f"out_{mode}_ap"]
    np.testing.assert_allclose(metrics.ap, ap, rtol=0, atol=1e-9)
    assert abs(metrics.summary()["mAP"] - golden[f"out_{mode}_mAP"]) < 1e-9
    assert metrics.protocol["n_undefined"] == np.isnan(ap).sum()

    known = metrics.defined
    hit = golden[f"out_{mode}_hit"][known]
    if f"out_{mode}_hit_lo" not in golden:  # context matching leaves no ties
        np.testing.assert_array_equal(metrics.hits[known], hit)
        return
    lowest, highest = golden[f"out_{mode}_hit_lo"][known], golden[f"out_{mode}_hit_hi"][known]
    np.testing.assert_array_equal(metrics.hits_lo[known], lowest)
    np.testing.assert_array_equal(metrics.hits_hi[known], highest)
    ours = metrics.hits[known]
    assert ((lowest <= ours) & (ours <= highest)).all()
    sure = lowest == highest
    np.testing.assert_array_equal(ours[sure], hit[sure])


@pytest.mark.parametrize("boxes", ["det", "det_gt"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_detection(path, boxes):
    golden = np.load(path)
    results = SearchResults.load(path)
    ours = []
    for det_thresh, iou_thresh, labeled_only in golden["out_det_params"].tolist():
        metrics = evaluate_detection(
            results,
            det_thresh=det_thresh,
            iou_thresh=iou_thresh,
            labeled_only=bool(labeled_only),
            use_gt_boxes=boxes == "det_gt",
        )
        ours.append((metrics.recall, metrics.ap))
    np.testing.assert_allclose(ours, golden[f"out_{boxes}"], rtol=0, atol=1e-9)
