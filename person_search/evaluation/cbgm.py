"""Context bipartite graph matching (CBGM) of SeqNet (Li and Miao, AAAI 2021, section 3.4).

People who walk together are found together: the persons seen beside the query are matched one to
one with the persons of a gallery frame, and the query takes over the best similarity of that
matching.

Shape shorthand in this module:
    P: matching problems    R: rows, persons beside the query (the query is row 0)
    C: columns, detections of one frame    N: detections of all frames    d: size of an embedding
"""

from functools import lru_cache
from itertools import product

import numpy as np
from scipy.optimize import linear_sum_assignment

from .segments import expand_segments, lengths_to_offsets, most_similar

MAX_ENUMERATED_ROWS = 4


def rerank_with_context(
    similarity: np.ndarray,
    context: np.ndarray,
    embeddings: np.ndarray,
    offsets: np.ndarray,
    n_top: int,
) -> None:
    """Replace, in place, the similarity of the detections that the query is matched to.

    The frames of the ``n_top`` most similar detections are searched. In each, context and
    detections are matched with the largest total similarity, so that the smaller side is used up.
    The detection matched to the query gets the largest similarity among the matched pairs.

    Args:
        similarity: (N,) of one query, -inf outside of its gallery.
        context: (R, d) embeddings, row 0 the query.
        embeddings: (N, d) of all detections.
        offsets: (F + 1,) detections of each frame.
        n_top: how many detections are looked at (k1 of the paper).
    """
    if len(context) == 0:
        return
    top = most_similar(similarity, n_top)
    frames = np.unique(np.searchsorted(offsets, top, "right") - 1)
    if len(frames) == 0:
        return
    rows = expand_segments(offsets, frames)
    lengths = offsets[frames + 1] - offsets[frames]
    starts = lengths_to_offsets(lengths)

    edges = np.asarray(context @ embeddings.take(rows, axis=0).T, np.float64)
    width = max(int(lengths.max()), len(context))
    # Dearer than any other choice, so that a matching holds as few of these as it must.
    blank = -4.0 * len(context) * (np.abs(edges).max() + 1.0)
    weights = np.full((len(frames), len(context), width), blank)
    problem = np.repeat(np.arange(len(frames)), lengths)
    weights[problem, :, np.arange(len(rows)) - starts[problem]] = edges.T
    matched = max_weight_matching(weights)

    best = np.take_along_axis(weights, matched[:, :, None], axis=2).max(axis=(1, 2))
    own = matched[:, 0]
    found = own < lengths
    similarity[rows[(starts[:-1] + own)[found]]] = best[found]


def max_weight_matching(weights: np.ndarray) -> np.ndarray:
    """For every problem, the distinct columns of its rows that add up to the largest weight.

    Args:
        weights: (P, R, C) with R <= C.

    Returns:
        (P, R) column of each row.
    """
    n_rows = weights.shape[1]
    if n_rows > MAX_ENUMERATED_ROWS:
        return np.stack([linear_sum_assignment(w, maximize=True)[1] for w in weights])
    best = np.argsort(-weights, axis=2)[:, :, :n_rows]
    gains = np.take_along_axis(weights, best, axis=2).transpose(1, 2, 0).copy()  # (R, R, P)
    best = best.transpose(1, 2, 0).copy()
    choices = _choices(n_rows)
    totals = gains[0, choices[0]]
    for i in range(1, n_rows):
        totals += gains[i, choices[i]]
    for i in range(1, n_rows):
        for j in range(i):
            same = best[i, :, None] == best[j]
            totals[same[choices[i], choices[j]]] = -np.inf
    chosen = choices[:, totals.argmax(axis=0)]
    return np.take_along_axis(best, chosen[:, None], axis=1)[:, 0].T


@lru_cache
def _choices(n_rows: int) -> np.ndarray:
    """(R, n) which of its best columns each row may need to take.

    If the rows choose one after the other, the k-th finds at most k - 1 of its best columns taken;
    and the best matching is the outcome of some order. So sorted choices stay below 1, 2, 3, ...
    """
    every = product(range(n_rows), repeat=n_rows)
    return np.array([c for c in every if all(np.sort(c) <= np.arange(n_rows))]).T
