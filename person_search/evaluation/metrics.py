"""Person search metrics: mAP and top-k over a gallery of whole frames.

The common protocol of OIM (Xiao et al., CVPR 2017) and its followers. In every gallery frame that
holds the person, the most similar detection with IoU >= min(0.5, wh / ((w + 10)(h + 10))) is the
one true positive; every other detection of the gallery is a negative; a person without such a
detection is a miss. AP is the sum over true positives of the precision at their similarity, divided
by the number of frames that hold the person. Equal similarities enter AP in one step; for top-k
they rank in gallery order, first listed first.

Shape shorthand in this module:
    Q: queries    N: detections of all frames    d: size of an embedding
    T: targets    P: (target, detection) pairs that overlap enough    H: targets that were found
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from ..protocols import GalleryLists, GalleryRule
from .cbgm import rerank_with_context
from .galleries import Galleries, resolve_galleries
from .reranking import KReciprocal, rerank_k_reciprocal
from .results import SearchResults
from .segments import (
    count_at_or_above,
    expand_segments,
    first_argmax,
    iou_of_pairs,
    lengths_to_offsets,
    run_starts,
    segment_of_row,
)

TOP_K = np.array([1, 5, 10])
QUERY_BLOCK = 256
SPARSE_GALLERY = 0.2
"""Below this share of all detections, gathering a gallery costs less than multiplying with all."""


@dataclass(frozen=True)
class CBGM:
    """How far context matching looks (:mod:`person_search.evaluation.cbgm`).

    Attributes:
        k1: number of most similar detections whose frames are matched.
        k2: number of persons of the query frame that are matched, the query among them.
    """

    k1: int
    k2: int

    @classmethod
    def published(cls, gallery: GalleryRule | GalleryLists) -> "CBGM":
        """SeqNet's values for CUHK-SYSU, whose galleries are lists, and for PRW."""
        return cls(10, 3) if isinstance(gallery, GalleryLists) else cls(30, 4)


@dataclass(frozen=True, eq=False)
class SearchMetrics:
    """What a search achieved, and under which protocol.

    Attributes:
        ap: (Q,) average precision; NaN where the gallery holds no target. Means leave those out.
        hits: (Q, 3) bool, a true positive among the first 1, 5, 10.
        hits_lo, hits_hi: (Q, 3) bool, worst and best over all orders of equal similarities.
        protocol: gallery rule, its sizes, threshold, weighting, all that the numbers depend on.
    """

    ap: np.ndarray
    hits: np.ndarray
    hits_lo: np.ndarray
    hits_hi: np.ndarray
    protocol: dict

    @property
    def defined(self) -> np.ndarray:
        """(Q,) bool, queries whose gallery holds a target."""
        return ~np.isnan(self.ap)

    def summary(self) -> dict[str, float]:
        """mAP, top1, top5, top10 as shares of 1; NaN without any defined query."""
        if not self.defined.any():
            return dict.fromkeys(("mAP", "top1", "top5", "top10"), float("nan"))
        top = self.hits[self.defined].mean(axis=0)
        values = (self.ap[self.defined].mean(), *top)
        return dict(zip(("mAP", "top1", "top5", "top10"), map(float, values), strict=True))


@dataclass(frozen=True, eq=False)
class SearchedBoxes:
    """The boxes that are searched, in CSR form over all frames; embeddings are float32."""

    offsets: np.ndarray
    boxes: np.ndarray
    embeddings: np.ndarray


def evaluate_search(
    results: SearchResults,
    galleries: Galleries | None = None,
    *,
    det_thresh: float = 0.5,
    use_gt_boxes: bool = False,
    score_weighting: bool = False,
    cbgm: CBGM | None = None,
    rerank: KReciprocal | None = None,
) -> SearchMetrics:
    """Search every query in its gallery.

    A query whose embedding is a row of zeros, since the model did not find its person, has AP 0.

    Args:
        results: detections and queries.
        galleries: where to search; None takes the gallery that the file asks for.
        det_thresh: detections with a lower score are not searched.
        use_gt_boxes: search the ground-truth boxes instead of the detections (upper bound).
        score_weighting: multiply the embeddings of detections by their scores (NAE's CWS).
        cbgm: context matching, or None.
        rerank: k-reciprocal re-ranking, or None; not together with ``cbgm``.

    Raises:
        ValueError: ``results`` lacks ``gt_embs`` or the query context that an option needs, or two
            options exclude each other.
    """
    if cbgm is not None and rerank is not None:
        raise ValueError("cbgm and rerank exclude each other")
    if use_gt_boxes and results.gt_embs is None:
        raise ValueError("use_gt_boxes needs results with gt_embs")
    if cbgm is not None and results.qctx_embs is None:
        raise ValueError("cbgm needs results with qctx_embs")
    galleries = resolve_galleries(results) if galleries is None else galleries
    if use_gt_boxes:
        embeddings = np.asarray(results.gt_embs, np.float32)
        found = SearchedBoxes(results.gt_offsets, results.gt_boxes, embeddings)
    else:
        found = kept_detections(results, det_thresh, score_weighting)

    pair_target, pair_det = overlapping_pairs(galleries, found)
    pair_bounds = np.searchsorted(pair_target, galleries.target_offsets)
    n_queries = len(results.query_ids)
    # As like one detection as any other, in whatever order: it finds nothing.
    unembedded = np.asarray(~np.asarray(results.query_embs).any(axis=1))
    similarities = [np.zeros(0, np.float32)]
    at_or_above = [np.zeros(0, np.int64)]
    # Rank of the first hit at best, in gallery order, at worst; without a hit beyond every k.
    ranks = np.full((3, n_queries), np.iinfo(np.int64).max)
    for q, row in similarity_rows(results.query_embs, galleries, found):
        if rerank is not None:
            query = np.asarray(results.query_embs[q], np.float32)
            rerank_k_reciprocal(row, query, found.embeddings, rerank)
        if cbgm is not None:
            context = results.context_of(q)[: cbgm.k2]
            rerank_with_context(row, context, found.embeddings, found.offsets, cbgm.k1)
        pairs = slice(*pair_bounds[q : q + 2])
        dets = true_positives(row, pair_target[pairs], pair_det[pairs])
        if unembedded[q]:
            dets = dets[:0]
        similarities.append(row[dets])
        at_or_above.append(count_at_or_above(row, row[dets]))
        if len(dets):
            ranks[:, q] = _first_hit(row, dets, at_or_above[-1], galleries, q, found.offsets)

    n_hits = np.array([len(s) for s in similarities[1:]], np.int64)
    of_hit = np.repeat(np.arange(n_queries), n_hits)
    ap = average_precision(
        of_hit, np.concatenate(similarities), np.concatenate(at_or_above), galleries.n_targets
    )
    best, stable, worst = ranks[:, :, None] < TOP_K
    protocol = {
        "name": results.protocol,
        "adapted": results.adapted or None,
        "gallery": galleries.rule,
        "gallery_size": _spread(galleries.sizes),
        "conventions": galleries.conventions.value,
        "boxes": "ground truth" if use_gt_boxes else "detections",
        "det_thresh": None if use_gt_boxes else det_thresh,
        "score_weighting": score_weighting and not use_gt_boxes,
        "cbgm": None if cbgm is None else asdict(cbgm),
        "rerank": None if rerank is None else asdict(rerank),
        "n_queries": n_queries,
        "n_unembedded": int(unembedded.sum()),
        "n_undefined": int(np.isnan(ap).sum()),
    }
    return SearchMetrics(ap=ap, hits=stable, hits_lo=worst, hits_hi=best, protocol=protocol)


def average_precision(
    query: np.ndarray, similarities: np.ndarray, at_or_above: np.ndarray, n_targets: np.ndarray
) -> np.ndarray:
    """AP of every query from where its true positives rank; equal similarities share one step.

    Args:
        query: (H,) query of each true positive, never falling.
        similarities: (H,).
        at_or_above: (H,) number of gallery items at least as similar.
        n_targets: (Q,) number of items that should have been found.

    Returns:
        (Q,) float64, NaN where ``n_targets`` is 0.
    """
    # Two targets, found at similarities .9 and .7, of which 1 and 4 items are at or above: the
    # precisions 1/1 and 2/4 give (1 + .5) / 2 = .75. Equal ones, both .7 with 4 items at or above:
    # one step that ends behind both, (2/4 + 2/4) / 2 = .5.
    order = np.lexsort((-similarities, query))
    # at_or_above rises along the order of one query, and is equal exactly where similarities are.
    rank = at_or_above[order]
    last_of_step = np.ones(len(order), bool)
    last_of_step[:-1] = (query[1:] != query[:-1]) | (rank[1:] != rank[:-1])
    step_end = np.flatnonzero(last_of_step)[np.cumsum(last_of_step) - last_of_step]
    first_of_query = np.searchsorted(query, query, "left")
    precision = (step_end - first_of_query + 1) / rank
    totals = np.bincount(query, precision, minlength=len(n_targets))
    return np.divide(totals, n_targets, out=np.full(len(totals), np.nan), where=n_targets > 0)


def required_iou(boxes: np.ndarray) -> np.ndarray:
    """Overlap that finds a person: 0.5, and less for boxes that ten pixels change a lot.

    Args:
        boxes: (T, 4) xyxy of the persons.

    Returns:
        (T,) min(0.5, wh / ((w + 10)(h + 10))), w and h in pixels.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return np.minimum(0.5, width * height / ((width + 10) * (height + 10)))


def kept_detections(
    results: SearchResults, det_thresh: float, weighted: bool = False
) -> SearchedBoxes:
    """The detections that are searched; ``weighted``: times their scores (CWS of NAE)."""
    scores = results.dets[:, 4]
    kept = scores >= det_thresh
    frame = segment_of_row(results.det_offsets)[kept]
    offsets = lengths_to_offsets(np.bincount(frame, minlength=len(results.frame_names)))
    embeddings = np.asarray(results.det_embs[kept], np.float32)
    if weighted:
        embeddings *= scores[kept, None].astype(np.float32)
    return SearchedBoxes(offsets, results.dets[kept, :4], embeddings)


def overlapping_pairs(galleries: Galleries, found: SearchedBoxes) -> tuple[np.ndarray, np.ndarray]:
    """(P,) target, never falling, and (P,) detection of every pair that overlaps enough."""
    frames = galleries.target_frames
    dets = expand_segments(found.offsets, frames)
    target = np.repeat(np.arange(len(frames)), np.diff(found.offsets)[frames])
    boxes = galleries.target_boxes
    iou = iou_of_pairs(boxes.take(target, axis=0), found.boxes.take(dets, axis=0))
    enough = iou >= required_iou(boxes)[target]
    return target[enough], dets[enough]


def similarity_rows(
    query_embs: np.ndarray, galleries: Galleries, found: SearchedBoxes
) -> Iterator[tuple[int, np.ndarray]]:
    """For every query its index and a row of N similarities, -inf outside of its gallery.

    Rows may be written to and are only valid until the next one.
    """
    queries = np.asarray(query_embs, np.float32)
    lengths = np.diff(found.offsets)
    share = (galleries.searched.sum(axis=0) @ lengths) / max(1, len(found.boxes) * len(queries))
    if share < SPARSE_GALLERY:
        row = np.empty(len(found.boxes), np.float32)
        for q, searched in enumerate(galleries.searched):
            columns = expand_segments(found.offsets, np.flatnonzero(searched))
            row.fill(-np.inf)
            row[columns] = found.embeddings.take(columns, axis=0) @ queries[q]
            yield q, row
        return
    frame = segment_of_row(found.offsets)
    # Reused: allocating anew for every block costs as much as the product.
    similarity = np.empty((QUERY_BLOCK, len(frame)), np.float32)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start : start + QUERY_BLOCK]
        rows = np.matmul(block, found.embeddings.T, out=similarity[: len(block)])
        for q, row in enumerate(rows, start):
            np.putmask(row, (~galleries.searched[q]).take(frame), -np.inf)
            yield q, row


def true_positives(row: np.ndarray, target: np.ndarray, dets: np.ndarray) -> np.ndarray:
    """For every target of ``target``, its most similar overlapping detection, first on ties."""
    return dets[first_argmax(row[dets], run_starts(target))]


def _first_hit(
    row: np.ndarray,
    hits: np.ndarray,
    at_or_above: np.ndarray,
    galleries: Galleries,
    query: int,
    offsets: np.ndarray,
) -> tuple[int, int, int]:
    """0-based rank of the first true positive of ``hits``: at best, in gallery order, at worst."""
    # Similarities .9 .7 .7 .7, hits at 1 and 3. The best hit ties with two other items at .7, one
    # of them a hit: at best it comes right behind .9 (rank 1), at worst behind the miss (rank 2);
    # in gallery order it depends on which of the frames is listed first.
    top = row[hits].max()
    tied_hits = hits[row[hits] == top]
    worst = at_or_above.min() - len(tied_hits)
    tied = np.flatnonzero(row == top)
    best = at_or_above.min() - len(tied)
    if best == worst:
        return best, best, worst
    frame = np.searchsorted(offsets, tied, "right") - 1
    tied = tied[np.argsort(galleries.positions(query)[frame], kind="stable")]
    return best, best + np.isin(tied, tied_hits).argmax(), worst


def _spread(sizes: np.ndarray) -> dict[str, float]:
    if len(sizes) == 0:
        return {"min": 0, "median": 0, "max": 0}
    return {"min": int(sizes.min()), "median": float(np.median(sizes)), "max": int(sizes.max())}
