"""Speed of the search and detection metrics on synthetic results of real size.

Times are CPU seconds. The ratio is against a plain loop over queries and frames, measured in the
same run on a random part of the queries and scaled up to all of them; the largest difference of
their APs is printed too.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from person_search.evaluation import (
    CBGM,
    Galleries,
    SearchResults,
    evaluate_detection,
    evaluate_search,
    resolve_galleries,
)

from .common import peak_gib
from .synthetic import SIZES, synthetic_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", choices=SIZES, default="prw")
    parser.add_argument("--dim", type=int, default=256, help="size of an embedding")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--reference-queries", type=int, default=32, help="queries the loop evaluates"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> None:
    results = synthetic_results(SIZES[args.protocol], args.dim, args.seed)
    n_queries = len(results.query_ids)
    base_memory = peak_gib()
    galleries, index_s = _timed(resolve_galleries, results)
    metrics, search_s = _timed(evaluate_search, results, galleries)
    cbgm = CBGM.published(results.gallery)
    _, cbgm_s = _timed(evaluate_search, results, galleries, cbgm=cbgm)
    _, detection_s = _timed(evaluate_detection, results)
    memory = peak_gib()

    rng = np.random.default_rng(args.seed)
    sample = rng.choice(n_queries, min(args.reference_queries, n_queries), replace=False)
    expected, sample_s = _timed(loop_search, results, galleries, sample)
    reference_s = sample_s * n_queries / len(sample)
    _, loop_detection_s = _timed(loop_detection, results)
    figures = {
        "protocol": args.protocol,
        "frames": len(results.frame_names),
        "detections": len(results.dets),
        "queries": n_queries,
        "index_s": index_s,
        "search_s": search_s,
        "search_cbgm_s": cbgm_s,
        "detection_s": detection_s,
        "peak_memory_gib": memory,
        "peak_memory_of_input_gib": base_memory,
        "loop_queries": len(sample),
        "loop_search_s_extrapolated": reference_s,
        "loop_detection_s": loop_detection_s,
        "search_ratio": reference_s / search_s,
        "search_ratio_with_index": reference_s / (search_s + index_s),
        "detection_ratio": loop_detection_s / detection_s,
        "largest_ap_difference": float(np.abs(metrics.ap[sample] - expected).max()),
    }
    if args.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:30}{value:.3g}" if isinstance(value, float) else f"{name:30}{value}")
    print(
        f"(CPU seconds; the loop ran {len(sample)} of {n_queries} queries, scaled linearly;"
        " detection_s covers two pairings, the loop one)"
    )


def loop_search(results: SearchResults, galleries: Galleries, queries: np.ndarray) -> np.ndarray:
    """AP of some queries by the protocol's own words: frame after frame, box after box."""
    aps = []
    for q in queries:
        targets = slice(*galleries.target_offsets[q : q + 2])
        boxes = dict(
            zip(galleries.target_frames[targets], galleries.target_boxes[targets], strict=True)
        )
        labels, similarities = [], []
        for frame in np.flatnonzero(galleries.searched[q]):
            rows = slice(*results.det_offsets[frame : frame + 2])
            dets, embs = results.dets[rows], results.det_embs[rows]
            kept = dets[:, 4] >= 0.5
            similarity = embs[kept] @ results.query_embs[q]
            label = np.zeros(len(similarity), int)
            if frame in boxes:
                x1, y1, x2, y2 = boxes[frame]
                threshold = min(0.5, (x2 - x1) * (y2 - y1) / ((x2 - x1 + 10) * (y2 - y1 + 10)))
                for i in np.argsort(-similarity, kind="stable"):
                    if _iou(boxes[frame], dets[kept][i]) >= threshold:
                        label[i] = 1
                        break
            labels.extend(label)
            similarities.extend(similarity)
        aps.append(_loop_ap(np.array(labels), np.array(similarities), galleries.n_targets[q]))
    return np.array(aps)


def loop_detection(results: SearchResults) -> tuple[float, float]:
    """Recall and AP times recall of the mutual-best pairing, frame after frame, pair after pair."""
    labels, scores = [], []
    for frame in range(len(results.frame_names)):
        gts = results.gt_boxes[slice(*results.gt_offsets[frame : frame + 2])]
        dets = results.dets[slice(*results.det_offsets[frame : frame + 2])]
        dets = dets[dets[:, 4] >= 0.5]
        if len(gts) and len(dets):
            ious = np.array([[_iou(gt, det) for det in dets] for gt in gts])
            best_gt, best_det = ious.argmax(axis=0), ious.argmax(axis=1)
            labels.extend(
                best_det[best_gt[i]] == i and ious[best_gt[i], i] >= 0.5 for i in range(len(dets))
            )
        else:
            labels.extend([False] * len(dets))
        scores.extend(dets[:, 4])
    ap = _loop_ap(np.array(labels, int), np.array(scores), len(results.gt_boxes))
    return sum(labels) / len(results.gt_boxes), ap


def _loop_ap(labels: np.ndarray, scores: np.ndarray, n_targets: int) -> float:
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    precision = found[ends] / (ends + 1)
    return float((np.diff(found[ends], prepend=0) * precision).sum() / n_targets)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0.0, width) * max(0.0, height)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def _timed(function: Callable, *args: Any, **kwargs: Any) -> tuple[Any, float]:
    start = time.process_time()
    value = function(*args, **kwargs)
    return value, time.process_time() - start
