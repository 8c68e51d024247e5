"""Detection recall and AP, in the two definitions that papers mix.

Person search papers pair boxes by mutual best overlap: a detection is a true positive if it is the
best one of its own best ground-truth box, whatever the scores, and print AP times recall. COCO
gives each detection, by falling score, the best box that is still free, and prints the
interpolated AP.

Shape shorthand in this module:
    F: frames    G: ground-truth boxes    N: detections    P: pairs of both in one frame
"""

from dataclasses import dataclass

import numpy as np

from .results import SearchResults
from .segments import expand_segments, first_argmax, iou_of_pairs, run_starts, segment_of_row


@dataclass(frozen=True)
class DetectionMetrics:
    """Shares of 1; NaN where there is nothing to find.

    Attributes:
        recall: of the mutual-best pairing.
        ap: its average precision times recall: what person search papers print.
        plain_ap: the same without the recall factor, so it can exceed the recall.
        coco_ap: COCO's AP at this IoU (greedy by score, 101 recall points, no limit of detections).
    """

    recall: float
    ap: float
    plain_ap: float
    coco_ap: float


def evaluate_detection(
    results: SearchResults,
    *,
    det_thresh: float = 0.5,
    iou_thresh: float = 0.5,
    labeled_only: bool = False,
    use_gt_boxes: bool = False,
) -> DetectionMetrics:
    """Compare the detections of all frames with the ground truth.

    Detections that ``results`` mark as ignored count for nothing if they match no box.

    Args:
        results: the test set.
        det_thresh: detections with a lower score are dropped.
        iou_thresh: overlap a match needs.
        labeled_only: only persons with an identity count, and frames without one are left out;
            detections of the others are then false.
        use_gt_boxes: take the ground-truth boxes, with score 1, as detections.
    """
    n_frames = len(results.frame_names)
    gt_frame = segment_of_row(results.gt_offsets)
    if use_gt_boxes:
        frame, boxes, scores = gt_frame, results.gt_boxes, np.ones(len(gt_frame), np.float32)
        ignored = np.zeros(len(frame), bool)
    else:
        kept = results.dets[:, 4] >= det_thresh
        frame = segment_of_row(results.det_offsets)[kept]
        boxes, scores = results.dets[kept, :4], results.dets[kept, 4]
        ignored = np.zeros(len(frame), bool)
        if results.det_ignored is not None:
            ignored = results.det_ignored[kept]
    gt_boxes = results.gt_boxes
    if labeled_only:
        labeled = results.gt_ids != results.unlabeled_id
        gt_frame, gt_boxes = gt_frame[labeled], gt_boxes[labeled]
        counted = np.isin(frame, gt_frame)
        frame, boxes, scores = frame[counted], boxes[counted], scores[counted]
        ignored = ignored[counted]
    if len(gt_boxes) == 0:
        return DetectionMetrics(*[float("nan")] * 4)

    # All pairs of one frame, by detection and then by ground-truth box.
    gt_offsets = np.searchsorted(gt_frame, np.arange(n_frames + 1))
    gt = expand_segments(gt_offsets, frame)
    det = np.repeat(np.arange(len(frame)), np.diff(gt_offsets)[frame])
    iou = iou_of_pairs(boxes.take(det, axis=0), gt_boxes.take(gt, axis=0))
    # float32 is the type in which the published code compares overlaps and finds ties. What a box
    # overlaps best decides either pairing only if it overlaps enough, so other pairs can go.
    near = np.flatnonzero(iou.astype(np.float32) >= iou_thresh)
    det, gt, iou = det[near], gt[near], iou[near]

    mutual = np.zeros(len(frame), bool)
    mutual[_mutual_best(det, gt, iou.astype(np.float32))] = True
    recall = mutual.sum() / len(gt_boxes)
    by_score = np.argsort(-scores, kind="stable")
    greedy = _greedy(det, gt, iou, iou_thresh, frame, by_score)
    of_mutual, of_greedy = (by_score[(x | ~ignored)[by_score]] for x in (mutual, greedy))
    plain = _step_ap(mutual[of_mutual], scores[of_mutual])
    values = (recall, plain * recall, plain, _coco_ap(greedy[of_greedy], len(gt_boxes)))
    return DetectionMetrics(*map(float, values))


def _mutual_best(det: np.ndarray, gt: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Detections that are the best one of their own best box; the first on equal overlap."""
    best_of_det = first_argmax(iou, run_starts(det))
    by_gt = np.argsort(gt, kind="stable")
    best_of_gt = np.zeros(len(gt), bool)
    best_of_gt[by_gt[first_argmax(iou[by_gt], run_starts(gt[by_gt]))]] = True
    return det[best_of_det[best_of_gt[best_of_det]]]


def _greedy(
    det: np.ndarray,
    gt: np.ndarray,
    iou: np.ndarray,
    iou_thresh: float,
    frame: np.ndarray,
    by_score: np.ndarray,
) -> np.ndarray:
    """(N,) bool, matched when every detection, by falling score, takes its best free box."""
    place = np.empty(len(frame), np.int64)
    place[by_score] = np.arange(len(frame))
    in_frame = np.argsort(frame * len(frame) + place, kind="stable")  # fast: frames are in order
    rank = np.empty(len(frame), np.int64)  # place of a detection in its frame
    rank[in_frame] = np.arange(len(frame)) - np.searchsorted(frame, frame)
    near = np.flatnonzero(iou >= iou_thresh)
    near = near[np.argsort(rank[det[near]], kind="stable")]
    matched = np.zeros(len(frame), bool)
    free = np.ones(int(gt.max(initial=-1)) + 1, bool)
    # One round per rank: no two detections of a round share a frame, so none share a box.
    for pairs in np.split(near, run_starts(rank[det[near]])[1:]):
        pairs = pairs[free[gt[pairs]]]
        pairs = pairs[first_argmax(iou[pairs], run_starts(det[pairs]))]
        matched[det[pairs]] = True
        free[gt[pairs]] = False
    return matched


def _step_ap(positive: np.ndarray, scores: np.ndarray) -> float:
    """Average precision over the positives given, by falling score; equal scores share one step."""
    if not positive.any():
        return 0.0
    # Scores .9 .9 .5, of which the first and the last are positive: steps end at items 2 and 3,
    # with 1 and 2 found: (1 * 1/2 + 1 * 2/3) / 2.
    ends = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
    found = np.cumsum(positive)[ends]
    return float((np.diff(found, prepend=0) * found / (ends + 1)).sum() / found[-1])


def _coco_ap(positive: np.ndarray, n_boxes: int) -> float:
    """Mean over 101 recalls of the best precision at that recall or beyond, by falling score."""
    found = np.cumsum(positive)
    precision = found / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / n_boxes, np.linspace(0, 1, 101))
    return float(np.append(envelope, 0.0)[reached].mean())
