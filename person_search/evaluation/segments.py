"""Arithmetic on ragged rows kept in CSR form, and on pairs of boxes.

The rows of item ``i`` are ``offsets[i]:offsets[i + 1]`` of a flat array.

Shape shorthand in this module:
    S: number of segments
    P: number of pairs
    N, H: number of values, of levels they are compared with
"""

from collections.abc import Sequence

import numpy as np


def lengths_to_offsets(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """(S,) segment lengths to (S + 1,) int64 offsets."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def segment_of_row(offsets: np.ndarray) -> np.ndarray:
    """(offsets[-1],) index of the segment that each flat row belongs to."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def expand_segments(offsets: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Flat rows of the chosen segments, one segment after the other.

    Args:
        offsets: (S + 1,) segment bounds.
        segments: segment indices, in any order, repeats allowed.
    """
    starts = offsets[segments]
    lengths = offsets[segments + 1] - starts
    ends = np.cumsum(lengths)
    rows = np.repeat(starts - (ends - lengths), lengths)
    rows += np.arange(len(rows))
    return rows


def run_starts(*keys: np.ndarray) -> np.ndarray:
    """First rows of the runs of neighbors that are equal in every key."""
    changes = np.zeros(max(0, len(keys[0]) - 1), bool)
    for key in keys:
        changes |= key[1:] != key[:-1]
    return np.flatnonzero(np.r_[len(keys[0]) > 0, changes])


def first_argmax(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Row of the first maximum of every segment.

    Args:
        values: flat values.
        starts: (S,) strictly increasing first rows; the first is 0, so that no segment is empty.

    Returns:
        (S,) flat rows.
    """
    if len(starts) == 0:
        return np.zeros(0, np.int64)
    bounds = np.append(starts, len(values))
    top = np.maximum.reduceat(values, starts)
    rows = np.flatnonzero(values == np.repeat(top, bounds[1:] - bounds[:-1]))
    return rows[np.searchsorted(rows, starts)]


def iou_of_pairs(boxes: np.ndarray, others: np.ndarray, extent: float = 0.0) -> np.ndarray:
    """IoU of ``boxes[i]`` with ``others[i]``, in float64.

    Args:
        boxes: (P, 4) xyxy.
        others: (P, 4) xyxy.
        extent: what is added to every x2 - x1 and y2 - y1; 1 gives the old inclusive-pixel boxes.

    Returns:
        (P,); 0 where both boxes have no area.
    """
    a, b = boxes.T, others.T
    width = np.subtract(np.minimum(a[2], b[2]), np.maximum(a[0], b[0]), dtype=np.float64) + extent
    height = np.subtract(np.minimum(a[3], b[3]), np.maximum(a[1], b[1]), dtype=np.float64) + extent
    intersection = width.clip(min=0) * height.clip(min=0)
    meet = np.flatnonzero(intersection)  # most pairs of a frame lie apart
    a, b = boxes[meet].T.astype(np.float64), others[meet].T.astype(np.float64)
    area_a, area_b = ((box[2] - box[0] + extent) * (box[3] - box[1] + extent) for box in (a, b))
    iou = np.zeros(len(boxes))
    iou[meet] = intersection[meet] / (area_a + area_b - intersection[meet])
    return iou


def most_similar(similarity: np.ndarray, n_top: int) -> np.ndarray:
    """Rows of the first ``n_top`` values of a stable falling sort, without -inf.

    Args:
        similarity: (N,).
        n_top: at least 1.
    """
    bound = -np.inf
    width = 8 * n_top
    if len(similarity) > 2 * width:
        # n_top of the peaks reach this bound, so n_top entries do; most of the others do not.
        peaks = similarity[: len(similarity) // width * width].reshape(-1, width).max(axis=0)
        bound = np.partition(peaks, width - n_top)[width - n_top]
    entries = np.flatnonzero(similarity >= bound if bound > -np.inf else similarity > bound)
    return entries[np.argsort(-similarity[entries], kind="stable")[:n_top]]


def count_at_or_above(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """How many values are at least as large as each level.

        count_at_or_above([.9, .2, .5, .5], levels=[.5, .9])  ->  [3, 1]

    Args:
        values: (N,) floats, -inf allowed.
        levels: (H,) finite floats of the same type.

    Returns:
        (H,) int64.
    """
    if len(levels) == 0:
        return np.zeros(0, np.int64)
    ordered = np.sort(values[values >= levels.min()])
    return len(ordered) - np.searchsorted(ordered, levels, "left")
