"""PRW as its authors evaluate it (Zheng et al., Person Re-identification in the Wild, CVPR 2017).

Every detection is labeled by overlap, persons seen by the query's own camera and doubtful boxes
are taken out of the ranking, AP is a trapezoid, and the detector is swept over its score threshold:
each point of the curve is a number of boxes per image.

Shape shorthand in this module:
    F: frames    G: ground-truth boxes    N: detections    Q: queries    S: points of the sweep
"""

from dataclasses import dataclass

import numpy as np

from person_search.errors import ResultsError
from person_search.labels import BACKGROUND, UNLABELED

from .galleries import has_cameras
from .metrics import QUERY_BLOCK
from .results import SearchResults
from .segments import expand_segments, first_argmax, iou_of_pairs, run_starts, segment_of_row

GOOD_IOU, JUNK_IOU = 0.5, 0.3
MAX_RANK = 1000
JUNK, DISTRACTOR = UNLABELED, BACKGROUND
"""Labels of detections that are left out of the ranking, and of those that only spoil it."""


@dataclass(frozen=True, eq=False)
class ZhengCurves:
    """Metrics over the number of boxes per image; queries that nobody could find are left out.

    Attributes:
        boxes_per_image: (S,) detections left per frame.
        mAP, rank1, rank20: (S,).
    """

    boxes_per_image: np.ndarray
    mAP: np.ndarray
    rank1: np.ndarray
    rank20: np.ndarray

    def best(self) -> dict[str, tuple[float, float]]:
        """For every metric its maximum and the boxes per image where that occurs."""
        curves = {"mAP": self.mAP, "rank1": self.rank1, "rank20": self.rank20}
        return {
            name: (float(curve.max()), float(self.boxes_per_image[curve.argmax()]))
            for name, curve in curves.items()
        }


def even_thresholds(scores: np.ndarray) -> np.ndarray:
    """(31,) thresholds evenly spaced from the lowest to the highest score (first script)."""
    return np.linspace(scores.min(), scores.max(), 31)


def even_counts(scores: np.ndarray) -> np.ndarray:
    """(30,) thresholds that each drop the same number of boxes more (second script)."""
    dropped = np.arange(30) * (len(scores) // 30) - 1
    return np.sort(scores)[dropped.clip(min=0)]


def zheng_curves(
    results: SearchResults,
    thresholds: np.ndarray | None = None,
    skip_empty_frames: bool = False,
) -> ZhengCurves:
    """Evaluate under the PRW authors' protocol; the gallery is every frame, the query's own too.

    Args:
        results: the test set, with cameras.
        thresholds: (S,) detection scores, sorted if they are not; None takes
            :func:`even_thresholds`.
        skip_empty_frames: forget the persons of frames without detections, as the authors' script.

    Raises:
        ResultsError: unknown cameras, or no detections.
    """
    if not has_cameras(results):
        raise ResultsError("frame_cam or query_cam holds -1: Zheng's protocol needs every camera")
    if len(results.dets) == 0:
        raise ResultsError("dets is empty: there is no score to sweep")
    scores = results.dets[:, 4]
    thresholds = even_thresholds(scores) if thresholds is None else np.asarray(thresholds)
    labels, missed = label_detections(results, skip_empty_frames)
    det_cam = results.frame_cam[segment_of_row(results.det_offsets)]
    missed_ids = results.gt_ids[missed]
    missed_cam = results.frame_cam[segment_of_row(results.gt_offsets)[missed]]

    gallery = np.asarray(results.det_embs, np.float32)
    thresholds = np.sort(thresholds)
    n_passed = np.searchsorted(thresholds, scores, "right")  # thresholds that leave a detection in
    points = []  # of every query: (3, S) AP, rank-1, rank-20
    for q, (person, camera) in enumerate(zip(results.query_ids, results.query_cam, strict=True)):
        if q % QUERY_BLOCK == 0:
            block = np.asarray(results.query_embs[q : q + QUERY_BLOCK], np.float32) @ gallery.T
        good = (labels == person) & (det_cam != camera)
        n_good = good.sum() + ((missed_ids == person) & (missed_cam != camera)).sum()
        if n_good == 0:
            continue
        order = np.argsort(-block[q % QUERY_BLOCK], kind="stable")
        order = order[good[order] | (labels[order] != person) & (labels[order] != JUNK)]
        found = _ranks_of_hits(good[order], n_passed[order], len(thresholds))
        firsts = np.array([r.min(initial=MAX_RANK + 1) for r in found])
        points.append([[trapezoid_ap(r, n_good) for r in found], firsts <= 1, firsts <= 20])
    curves = np.mean(points, axis=0) if points else np.full((3, len(thresholds)), np.nan)
    n_left = np.count_nonzero(n_passed > np.arange(len(thresholds))[:, None], axis=1)
    return ZhengCurves(n_left / len(results.frame_names), *curves)


def _ranks_of_hits(is_hit: np.ndarray, n_passed: np.ndarray, n_points: int) -> list[np.ndarray]:
    """For every point of the sweep, the 1-based ranks of the hits that are left in a ranking."""
    hits = np.flatnonzero(is_hit)
    segment = np.cumsum(is_hit) - is_hit  # everything up to and with a hit, after the hit before
    cells = segment * (n_points + 1) + n_passed
    counts = np.bincount(cells, minlength=(len(hits) + 1) * (n_points + 1))
    counts = counts.reshape(len(hits) + 1, n_points + 1)[: len(hits), 1:]
    ranks = counts[:, ::-1].cumsum(axis=1)[:, ::-1].cumsum(axis=0)
    return [ranks[n_passed[hits] > point, point] for point in range(n_points)]


def label_detections(
    results: SearchResults, skip_empty_frames: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Who each detection is, and which persons nobody detected.

    Overlap counts pixels inclusively (x2 - x1 + 1). A detection takes the id of the box it overlaps
    most if IoU >= 0.5, is junk down to 0.3 and a distractor below. Of several with one id in a
    frame the best keeps it and the others are junk; so are detections of unlabeled persons.

    Returns:
        (N,) person id, :data:`JUNK` or :data:`DISTRACTOR`; rows of the ground-truth boxes missed.
    """
    frame = segment_of_row(results.det_offsets)
    gt = expand_segments(results.gt_offsets, frame)
    det = np.repeat(np.arange(len(frame)), np.diff(results.gt_offsets)[frame])
    iou = iou_of_pairs(results.dets[det, :4], results.gt_boxes[gt], extent=1.0)
    best = first_argmax(iou, run_starts(det))

    labels = np.full(len(frame), DISTRACTOR, np.int64)
    labels[det[best[iou[best] >= JUNK_IOU]]] = JUNK
    taken = best[iou[best] >= GOOD_IOU]
    identified = results.gt_ids != results.unlabeled_id
    named = taken[identified[gt[taken]]]
    by_overlap = np.lexsort((-iou[named], results.gt_ids[gt[named]], frame[det[named]]))
    named = named[by_overlap]
    named = named[run_starts(frame[det[named]], results.gt_ids[gt[named]])]
    labels[det[named]] = results.gt_ids[gt[named]]

    missed = identified.copy()
    missed[gt[taken]] = False
    if skip_empty_frames:
        missed &= np.isin(segment_of_row(results.gt_offsets), frame)
    return labels, np.flatnonzero(missed)


def trapezoid_ap(ranks: np.ndarray, n_good: int) -> float:
    """Area under precision over recall with straight lines between the ranks.

    Args:
        ranks: 1-based ranks of the hits, rising; those beyond 1000 do not count.
        n_good: number of items that should have been found.
    """
    ranks = ranks[ranks <= MAX_RANK]
    n_hits = np.arange(1, len(ranks) + 1)
    before = np.divide(n_hits - 1, ranks - 1, out=np.ones(len(ranks)), where=ranks > 1)
    return float((before + n_hits / ranks).sum() / (2 * n_good))
