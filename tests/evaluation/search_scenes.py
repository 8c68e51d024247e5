"""Small test sets for the evaluation tests, written as lists of frames.

A query has the embedding [1] and a detection the embedding [similarity], so that a test says
directly which similarity it means.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from person_search.evaluation import SearchResults
from person_search.labels import UNLABELED
from person_search.protocols import GalleryLists, GalleryRule

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"

G = (100, 100, 150, 200)
W = (400, 100, 450, 200)
QUERY_ID = 7


@dataclass
class Frame:
    """A frame: ``gt`` (box, id) and ``dets`` (box, similarity) or (box, similarity, score)."""

    name: str
    gt: list = field(default_factory=list)
    dets: list = field(default_factory=list)
    cam: int = 2


def scene(
    frames: list[Frame],
    lists: list[tuple] | None = None,
    query_frame: str = "Q",
    query_cam: int = 1,
    query_id: int = QUERY_ID,
) -> SearchResults:
    """Results of one query.

    Args:
        frames: of the test set, in gallery order.
        lists: gallery rows (name, box of the person or None), or None for a rule over all frames.
        query_frame: name; need not be among ``frames``.
        query_cam: camera of the query.
        query_id: person to find.
    """
    names = [frame.name for frame in frames]
    gt = [row for frame in frames for row in frame.gt]
    dets = [row for frame in frames for row in frame.dets]
    gallery = GalleryRule.OTHER_FRAMES
    if lists is not None:
        boxes = np.array([box or (0, 0, 0, 0) for _, box in lists], float).reshape(-1, 4)
        gallery = GalleryLists(
            offsets=np.array([0, len(lists)]),
            frames=np.array([names.index(name) for name, _ in lists], int),
            has_target=np.array([box is not None for _, box in lists], bool),
            boxes=boxes,
        )
    return SearchResults(
        frame_names=np.array(names),
        frame_cam=np.array([frame.cam for frame in frames]),
        gt_offsets=np.cumsum([0, *(len(frame.gt) for frame in frames)]),
        gt_boxes=np.array([box for box, _ in gt], float).reshape(-1, 4),
        gt_ids=np.array([person for _, person in gt], int),
        gt_embs=np.ones((len(gt), 1)),
        det_offsets=np.cumsum([0, *(len(frame.dets) for frame in frames)]),
        dets=np.array([(*d[0], d[2] if len(d) > 2 else 0.9) for d in dets]).reshape(-1, 5),
        det_embs=np.array([d[1] for d in dets], np.float32).reshape(-1, 1),
        query_frames=np.array([query_frame]),
        query_frame_index=np.array([names.index(query_frame) if query_frame in names else -1]),
        query_boxes=np.array([G], float),
        query_ids=np.array([query_id]),
        query_cam=np.array([query_cam]),
        query_embs=np.ones((1, 1), np.float32),
        gallery=gallery,
    )


def random_results(rng: np.random.Generator, lists: bool, coarse: bool = True) -> SearchResults:
    """A small test set full of ties, doubled boxes, empty frames and doubled gallery rows.

    Args:
        rng: source of everything.
        lists: gallery lists instead of a rule.
        coarse: embeddings from a coarse grid, so that similarities are often equal.
    """
    n_frames, n_queries, dim = rng.integers(1, 7), rng.integers(1, 4), 2 if coarse else 8
    n_gt, n_det = rng.integers(0, 4, n_frames), rng.integers(0, 5, n_frames)
    frame_names = np.array([f"f{i}" for i in range(n_frames)])
    frame_cam = rng.integers(1, 3, n_frames)

    def boxes(n: int) -> np.ndarray:
        corner = rng.choice([0, 5, 30], (n, 2))
        return np.c_[corner, corner + rng.choice([10, 12, 40], (n, 2))].astype(float)

    def embeddings(n: int) -> np.ndarray:
        if coarse:
            return (rng.integers(-2, 3, (n, dim)) / 2).astype(np.float32)
        return rng.standard_normal((n, dim)).astype(np.float32)

    def found(rows: np.ndarray) -> np.ndarray:
        """A row of zeros says that the model did not find the person."""
        rows[~rows.any(axis=1)] = 1.0
        return rows

    query_frame = rng.integers(-1, n_frames, n_queries)
    gallery = GalleryRule.OTHER_FRAMES
    if lists:
        sizes = rng.integers(0, 7, n_queries)
        gallery = GalleryLists(
            offsets=np.cumsum([0, *sizes]),
            frames=rng.integers(0, n_frames, sizes.sum()),
            has_target=rng.random(sizes.sum()) < 0.6,
            boxes=boxes(sizes.sum()),
        )
    n_context = rng.integers(1, 4, n_queries)
    context = boxes(n_context.sum())
    return SearchResults(
        frame_names=frame_names,
        frame_cam=frame_cam,
        gt_offsets=np.cumsum([0, *n_gt]),
        gt_boxes=boxes(n_gt.sum()),
        gt_ids=rng.choice([UNLABELED, 0, 1], n_gt.sum()),
        gt_embs=embeddings(n_gt.sum()),
        det_offsets=np.cumsum([0, *n_det]),
        dets=np.c_[boxes(n_det.sum()), rng.choice([0.25, 0.5, 0.75, 1], n_det.sum())],
        det_embs=embeddings(n_det.sum()),
        query_frames=np.where(query_frame < 0, "elsewhere", frame_names[query_frame]),
        query_frame_index=query_frame,
        query_boxes=boxes(n_queries),
        query_ids=rng.integers(0, 2, n_queries),
        query_cam=rng.integers(1, 3, n_queries),
        query_embs=found(embeddings(n_queries)),
        qctx_offsets=np.cumsum([0, *n_context]),
        qctx_dets=np.c_[context, np.ones(len(context))],
        qctx_embs=embeddings(n_context.sum()),
        gallery=gallery,
    )
