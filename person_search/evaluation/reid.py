"""Re-identification on crops: mAP and CMC of a ranking of single persons (Zheng et al., ICCV 2015).

Shape shorthand in this module:
    Q: queries    G: gallery crops    d: size of an embedding    R: ranks of the CMC
"""

from dataclasses import dataclass

import numpy as np

from .metrics import QUERY_BLOCK, average_precision
from .segments import count_at_or_above


@dataclass(frozen=True, eq=False)
class ReIDMetrics:
    """What a ranking of crops achieved.

    Attributes:
        ap: (Q,) NaN where the gallery holds no true match; means leave those out.
        cmc: (R,) share of queries whose first true match is among the first 1..R.
        protocol: camera rule and counts.
    """

    ap: np.ndarray
    cmc: np.ndarray
    protocol: dict

    @property
    def mAP(self) -> float:  # noqa: N802, the name in every paper
        """Mean over the queries that have a true match; NaN without any."""
        defined = self.ap[~np.isnan(self.ap)]
        return float(defined.mean()) if len(defined) else float("nan")


def evaluate_reid(
    query_embs: np.ndarray,
    query_ids: np.ndarray,
    gallery_embs: np.ndarray,
    gallery_ids: np.ndarray,
    query_cams: np.ndarray | None = None,
    gallery_cams: np.ndarray | None = None,
    max_rank: int = 50,
) -> ReIDMetrics:
    """Rank the gallery by falling dot product.

    Gallery crops with a negative id are junk and never ranked. With cameras, crops of the same
    person from the camera of the query are removed too (the Market-1501 rule). Equal similarities
    share one step of AP; for CMC they rank in gallery order. A query without a true match does not
    count.

    Args:
        query_embs: (Q, d).
        query_ids: (Q,).
        gallery_embs: (G, d).
        gallery_ids: (G,).
        query_cams: (Q,), or None for no camera rule.
        gallery_cams: (G,), or None for no camera rule.
        max_rank: R.

    Raises:
        ValueError: cameras on one side only.
    """
    if (query_cams is None) != (gallery_cams is None):
        raise ValueError("the camera rule needs query_cams and gallery_cams")
    gallery = np.asarray(gallery_embs, np.float32)
    query_ids, gallery_ids = np.asarray(query_ids), np.asarray(gallery_ids)
    junk = gallery_ids < 0
    n_targets = np.zeros(len(query_ids), np.int64)
    first_rank = np.full(len(query_ids), np.iinfo(np.int64).max)
    similarities, at_or_above = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for q, person in enumerate(query_ids):
        if q % QUERY_BLOCK == 0:
            block = np.asarray(query_embs[q : q + QUERY_BLOCK], np.float32) @ gallery.T
        row = block[q % QUERY_BLOCK]
        match = (gallery_ids == person) & ~junk
        removed = junk
        if query_cams is not None:
            seen = match & (np.asarray(gallery_cams) == query_cams[q])
            removed, match = junk | seen, match & ~seen
        row[removed] = -np.inf
        matches = np.flatnonzero(match)
        n_targets[q] = len(matches)
        similarities.append(row[matches])
        at_or_above.append(count_at_or_above(row, row[matches]))
        if len(matches):
            first = matches[row[matches].argmax()]
            ahead = np.count_nonzero(row > row[first])
            first_rank[q] = ahead + np.count_nonzero(row[:first] == row[first])
    query = np.repeat(np.arange(len(query_ids)), n_targets)
    ap = average_precision(
        query, np.concatenate(similarities), np.concatenate(at_or_above), n_targets
    )
    defined = n_targets > 0
    cmc = np.full(max_rank, np.nan)
    if defined.any():
        cmc = (first_rank[defined, None] < np.arange(1, max_rank + 1)).mean(axis=0)
    protocol = {
        "gallery": f"{np.count_nonzero(~junk)} crops",
        "camera_rule": "no true match of the query's camera" if query_cams is not None else None,
        "n_queries": len(query_ids),
        "n_undefined": int(np.count_nonzero(~defined)),
    }
    return ReIDMetrics(ap, cmc, protocol)
