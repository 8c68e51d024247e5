"""Context bipartite graph matching (CBGM) of SeqNet (Li and Miao, AAAI 2021, section 3.4).

People who walk together are found together: the persons seen beside the query are matched one to
one with the persons of a gallery frame, and the query takes over the best similarity of that
matching.

Shape shorthand in this module:
    R: the query (row 0) and the persons beside it    F: frames
    N: detections of all frames    d: size of an embedding
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from .segments import expand_segments, lengths_to_offsets, most_similar


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
    weights = context @ embeddings.take(rows, axis=0).T
    starts = lengths_to_offsets(offsets[frames + 1] - offsets[frames])
    # Rows: query and companion; columns: two detections of one frame. The best total, .6 + .9,
    # matches the query to the second one, which takes over the companion's similarity, .9.
    #     .7 .6
    #     .9 .2
    for of_frame in map(slice, starts[:-1], starts[1:]):
        people, dets = linear_sum_assignment(weights[:, of_frame], maximize=True)
        if people[0] == 0:  # not so where more people than detections left the query over
            best = weights[:, of_frame][people, dets].max()
            similarity[rows[of_frame][dets[0]]] = best
