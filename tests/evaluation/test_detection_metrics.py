"""Detection metrics against plain loops and against pycocotools."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_scenes import Frame, G, W, random_results, scene

from person_search.evaluation import evaluate_detection

SEEDS = st.integers(0, 10**9)


def coco_ap(results, det_thresh, iou_thresh):
    coco = pytest.importorskip("pycocotools.coco").COCO
    cocoeval = pytest.importorskip("pycocotools.cocoeval").COCOeval

    def boxes(offsets, rows):
        for frame in range(len(results.frame_names)):
            for i in range(offsets[frame], offsets[frame + 1]):
                x1, y1, x2, y2 = rows[i, :4].tolist()
                box = [x1, y1, x2 - x1, y2 - y1]
                yield i, {"image_id": frame, "category_id": 1, "bbox": box}

    truth = coco()
    truth.dataset = {
        "images": [{"id": i} for i in range(len(results.frame_names))],
        "categories": [{"id": 1}],
        "annotations": [
            {**row, "id": i + 1, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3]}
            for i, row in boxes(results.gt_offsets, results.gt_boxes)
        ],
    }
    found = [
        {**row, "score": float(results.dets[i, 4])}
        for i, row in boxes(results.det_offsets, results.dets)
        if results.dets[i, 4] >= det_thresh
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = cocoeval(truth, truth.loadRes(found), "bbox")
        evaluation.params.iouThrs = np.array([iou_thresh])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [1000]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"].mean()


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from([0.5, 0.7]))
def test_coco_ap_is_that_of_pycocotools(seed, iou_thresh):
    rng = np.random.default_rng(seed)
    results = random_results(rng, lists=False)
    # COCO breaks ties of overlap and score by other rules: have none.
    results.dets[:, :4] += rng.normal(0, 0.5, (len(results.dets), 4))
    results.dets[:, 4] = rng.permutation(len(results.dets)) / (len(results.dets) + 1)
    ours = evaluate_detection(results, det_thresh=0.3, iou_thresh=iou_thresh).coco_ap
    if len(results.gt_boxes) == 0:
        assert np.isnan(ours)
    elif (results.dets[:, 4] >= 0.3).any():
        assert ours == pytest.approx(coco_ap(results, 0.3, iou_thresh))
    else:
        assert ours == 0


@settings(deadline=None, max_examples=100)
@given(SEEDS, st.booleans())
def test_mutual_best_equals_plain_loops(seed, labeled_only):
    results = random_results(np.random.default_rng(seed), lists=False)
    labels, scores, n_boxes = [], [], 0
    for frame in range(len(results.frame_names)):
        rows = np.arange(*results.gt_offsets[frame : frame + 2])
        if labeled_only:
            rows = rows[results.gt_ids[rows] != results.unlabeled_id]
            if len(rows) == 0:
                continue
        n_boxes += len(rows)
        dets = results.dets[slice(*results.det_offsets[frame : frame + 2])]
        dets = dets[dets[:, 4] >= 0.5]
        scores.extend(dets[:, 4])
        if len(rows) == 0 or len(dets) == 0:
            labels.extend([False] * len(dets))
            continue
        iou = np.array([[_iou(gt, det) for det in dets] for gt in results.gt_boxes[rows]])
        best_gt, best_det = iou.argmax(axis=0), iou.argmax(axis=1)
        labels.extend(
            best_det[best_gt[j]] == j and iou[best_gt[j], j] >= 0.5 for j in range(len(dets))
        )
    ours = evaluate_detection(results, labeled_only=labeled_only)
    if n_boxes == 0:
        assert np.isnan(ours.recall)
        return
    labels, scores = np.array(labels, bool), np.array(scores)
    assert ours.recall == pytest.approx(labels.sum() / n_boxes)
    steps = [labels[scores >= s].mean() for s in scores[labels]]
    assert ours.ap == pytest.approx(sum(steps) / n_boxes)
    assert ours.plain_ap == pytest.approx(np.mean(steps) if steps else 0)


def _iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0, width) * max(0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return np.float32(inter / union)


def test_ground_truth_boxes_as_detections():
    frames = [Frame("1", [(G, 1), (W, -1)], []), Frame("2", [(G, 1)], [(W, 0, 0.9)])]
    metrics = evaluate_detection(scene(frames), use_gt_boxes=True)
    assert metrics.recall == metrics.ap == metrics.coco_ap == 1.0


def test_frames_without_boxes():
    nothing = evaluate_detection(scene([Frame("1"), Frame("2")]))
    assert np.isnan(nothing.recall) and np.isnan(nothing.ap) and np.isnan(nothing.coco_ap)
    missed = evaluate_detection(scene([Frame("1", [(G, 1)]), Frame("2")]))
    assert missed.recall == missed.ap == missed.plain_ap == missed.coco_ap == 0
    spurious = evaluate_detection(
        scene([Frame("1", [(G, 1)], [(G, 0, 0.8)]), Frame("2", [], [(W, 0, 0.9)])])
    )
    assert spurious.recall == 1.0 and spurious.ap == pytest.approx(0.5)


def test_false_detections_in_ignore_regions_count_for_nothing():
    """Two persons, one found. Of three false detections, the ignored two go; the match stays."""
    boxes = [W, (105, 100, 155, 200), G, (0, 0, 9, 9)]
    dets = [(box, 0.0, score) for box, score in zip(boxes, (0.9, 0.8, 0.7, 0.6), strict=True)]
    results = scene([Frame("a", gt=[(G, 7), ((700, 100, 750, 200), 8)], dets=dets)])
    as_it_is = evaluate_detection(results)
    ignored = np.array([True, True, True, False])
    found = evaluate_detection(replace(results, det_ignored=ignored))
    assert as_it_is.recall == found.recall == 0.5
    # Mutual best overlap: the third detection is the match, at rank 3 of 4 and then at rank 1 of 2.
    assert (as_it_is.plain_ap, found.plain_ap) == (pytest.approx(1 / 3), 1.0)
    assert found.ap == 0.5
    # COCO: the second one comes first, at rank 2 and then at rank 1; recalls 0, .01, ... .50.
    assert as_it_is.coco_ap == pytest.approx(51 / 101 / 2)
    assert found.coco_ap == pytest.approx(51 / 101)
