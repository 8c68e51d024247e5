"""PRW as its authors evaluate it (Zheng et al., Person Re-identification in the Wild, CVPR 2017).

Every detection is labeled by overlap, persons seen by the query's own camera and doubtful boxes
are taken out of the ranking, AP is a trapezoid, and the detector is swept over its score threshold:
each point of the curve is a number of boxes per image.

Shape shorthand in this module:
    F: frames    G: ground-truth boxes    N: detections    Q: queries    S: points of the sweep
"""

import numpy as np

from ..errors import ResultsError
from ..labels import BACKGROUND, UNLABELED
from .galleries import has_cameras
from .metrics import QUERY_BLOCK
from .results import SearchResults
from .segments import expand_segments, first_argmax, iou_of_pairs, run_starts, segment_of_row
from .sweep import Sweep, SweepCurves

GOOD_IOU, JUNK_IOU = 0.5, 0.3
MAX_RANK = 1000
JUNK, DISTRACTOR = UNLABELED, BACKGROUND
"""Labels of detections that are left out of the ranking, and of those that only spoil it."""


def zheng_curves(
    results: SearchResults, sweep: Sweep, skip_empty_frames: bool = False
) -> SweepCurves:
    """Evaluate under the PRW authors' protocol; the gallery is every frame, the query's own too.

    Queries that nobody could find are left out.

    Args:
        results: the test set, with cameras.
        sweep: the points; the authors' two scripts take :meth:`.Sweep.even_scores` and
            :meth:`.Sweep.even_counts`.
        skip_empty_frames: forget the persons of frames without detections, as the authors' script.

    Raises:
        ResultsError: unknown cameras, or no detections.
    """
    if not has_cameras(results):
        raise ResultsError("frame_cam or query_cam holds -1: Zheng's protocol needs every camera")
    if len(results.dets) == 0:
        raise ResultsError("dets is empty: there is no score to sweep")
    labels, missed = label_detections(results, skip_empty_frames)
    det_cam = results.frame_cam[segment_of_row(results.det_offsets)]
    missed_ids = results.gt_ids[missed]
    missed_cam = results.frame_cam[segment_of_row(results.gt_offsets)[missed]]

    gallery = np.asarray(results.det_embs, np.float32)
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
        found = _ranks_of_hits(good[order], sweep.last_point[order], sweep.n_points)
        firsts = np.array([r.min(initial=MAX_RANK + 1) for r in found])
        ap = np.array([trapezoid_ap(r, n_good) for r in found])
        points.append(np.stack([ap, firsts <= 1, firsts <= 20]))
    curves = np.mean(points, axis=0) if points else np.full((3, sweep.n_points), np.nan)
    return SweepCurves(
        sweep.sizes / len(results.frame_names),
        dict(zip(("mAP", "rank-1", "rank-20"), curves, strict=True)),
        "PRW as its authors evaluate it: all frames, persons of the query's camera left out, "
        "trapezoid AP",
    )


def _ranks_of_hits(is_hit: np.ndarray, last_point: np.ndarray, n_points: int) -> list[np.ndarray]:
    """For every point of the sweep, the 1-based ranks of the hits that are left in a ranking.

    ranking: distractor, hit, hit; last_point 1 2 1; two points
    ->  point 0 keeps all, hits at ranks 2 and 3; point 1 keeps the first hit alone, at rank 1
    """
    hits = np.flatnonzero(is_hit)
    segment = np.cumsum(is_hit) - is_hit  # everything up to and with a hit, after the hit before
    cells = segment * (n_points + 1) + last_point
    counts = np.bincount(cells, minlength=(len(hits) + 1) * (n_points + 1))
    counts = counts.reshape(len(hits) + 1, n_points + 1)[: len(hits), 1:]
    ranks = counts[:, ::-1].cumsum(axis=1)[:, ::-1].cumsum(axis=0)
    return [ranks[last_point[hits] > point, point] for point in range(n_points)]


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
