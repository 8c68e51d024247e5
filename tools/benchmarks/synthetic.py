"""Seeded search results of the size of a real test set, for timing and not for accuracy.

Shape shorthand in this module:
    F: frames    G: ground-truth boxes    N: detections    Q: queries    d: size of an embedding
"""

from dataclasses import dataclass

import numpy as np

from person_search.evaluation import SearchResults
from person_search.labels import UNLABELED
from person_search.protocols import GalleryLists, GalleryRule


@dataclass(frozen=True)
class Size:
    """How big a test set is. ``gallery`` None is the rule "all other frames"."""

    frames: int
    boxes: int
    labeled: int
    ids: int
    queries: int
    detections: int
    gallery: int | None
    cameras: int


SIZES = {
    "prw": Size(6112, 25_062, 16_344, 450, 2057, 29_844, None, 6),
    "cuhk100": Size(6978, 40_871, 8345, 2900, 2900, 42_591, 100, 0),
    "cuhk4000": Size(6978, 40_871, 8345, 2900, 2900, 42_591, 4000, 0),
}


def synthetic_results(size: Size, dim: int = 256, seed: int = 0) -> SearchResults:
    """Random frames, most persons detected, noisy embeddings around one center per identity.

    Args:
        size: how many of everything.
        dim: d.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    gt_frame = np.sort(
        np.concatenate(
            [np.arange(size.frames), rng.integers(size.frames, size=size.boxes - size.frames)]
        )
    )
    gt_ids = np.full(size.boxes, UNLABELED)
    labeled = rng.choice(size.boxes, size.labeled, replace=False)
    gt_ids[labeled] = np.arange(size.labeled) % size.ids
    gt_boxes = _random_boxes(rng, size.boxes)
    centers = _unit(rng.standard_normal((size.ids, dim)))
    gt_embs = _unit(
        np.where(gt_ids[:, None] >= 0, centers[gt_ids], 0) + _noise(rng, size.boxes, dim)
    )

    # 94 % of the persons are found; the rest of the detections lie anywhere.
    hit = np.flatnonzero(rng.random(size.boxes) < 0.94)[: size.detections]
    n_false = size.detections - len(hit)
    det_frame = np.concatenate([gt_frame[hit], rng.integers(size.frames, size=n_false)])
    boxes = np.concatenate(
        [gt_boxes[hit] + rng.normal(0, 3, (len(hit), 4)), _random_boxes(rng, n_false)]
    )
    embs = np.concatenate(
        [_unit(gt_embs[hit] + _noise(rng, len(hit), dim)), _unit(_noise(rng, n_false, dim))]
    )
    order = np.lexsort((rng.random(size.detections), det_frame))
    dets = np.concatenate([boxes, rng.uniform(0.5, 1, (size.detections, 1))], axis=1)[order]

    if size.gallery is None:
        query_box = rng.choice(labeled, size.queries, replace=False)
    else:
        query_box = labeled[: size.queries]  # the first box of every id
    query_frame = gt_frame[query_box]
    context = np.concatenate([np.r_[b, _others(gt_frame, b)] for b in query_box])
    context_offsets = np.cumsum([0, *(len(_others(gt_frame, b)) + 1 for b in query_box)])
    frame_names = np.array([f"frame{i:05d}.jpg" for i in range(size.frames)])
    frame_cam = (
        rng.integers(1, size.cameras + 1, size.frames) if size.cameras else np.full(size.frames, -1)
    )
    gallery = GalleryRule.OTHER_FRAMES
    if size.gallery is not None:
        gallery = _lists(rng, size, gt_frame, gt_ids, gt_boxes, query_box)
    return SearchResults(
        frame_names=frame_names,
        frame_cam=frame_cam,
        gt_offsets=np.searchsorted(gt_frame, np.arange(size.frames + 1)),
        gt_boxes=gt_boxes,
        gt_ids=gt_ids,
        gt_embs=gt_embs,
        det_offsets=np.searchsorted(det_frame[order], np.arange(size.frames + 1)),
        dets=dets.astype(np.float32),
        det_embs=embs[order],
        query_frames=frame_names[query_frame],
        query_frame_index=query_frame,
        query_boxes=gt_boxes[query_box],
        query_ids=gt_ids[query_box],
        query_cam=frame_cam[query_frame],
        query_embs=_unit(gt_embs[query_box] + _noise(rng, size.queries, dim)),
        qctx_offsets=context_offsets,
        qctx_dets=np.c_[gt_boxes[context], np.ones(len(context))],
        qctx_embs=gt_embs[context],
        protocol="synthetic",
        gallery=gallery,
    )


def _lists(rng, size: Size, gt_frame, gt_ids, gt_boxes, query_box) -> GalleryLists:
    by_id = np.argsort(gt_ids, kind="stable")
    bounds = np.searchsorted(gt_ids[by_id], np.arange(size.ids + 1))
    frames = np.empty((size.queries, size.gallery), np.int32)
    has_gt = np.zeros((size.queries, size.gallery), bool)
    target_boxes = np.zeros((size.queries, size.gallery, 4), np.float32)
    for q, box in enumerate(query_box):
        boxes = by_id[slice(*bounds[gt_ids[box] : gt_ids[box] + 2])]
        target_frames, first = np.unique(gt_frame[boxes], return_index=True)
        boxes = boxes[first[target_frames != gt_frame[box]]]
        others = rng.permutation(
            np.setdiff1d(np.arange(size.frames), [*target_frames, gt_frame[box]])
        )
        frames[q] = np.concatenate([gt_frame[boxes], others])[: size.gallery]
        has_gt[q, : len(boxes)] = True
        target_boxes[q, : len(boxes)] = gt_boxes[boxes]
    return GalleryLists(
        offsets=np.arange(size.queries + 1) * size.gallery,
        frames=frames.ravel(),
        has_target=has_gt.ravel(),
        boxes=target_boxes.reshape(-1, 4),
    )


def _others(gt_frame: np.ndarray, box: int) -> np.ndarray:
    low, high = np.searchsorted(gt_frame, [gt_frame[box], gt_frame[box] + 1])
    return np.setdiff1d(np.arange(low, high), [box])


def _random_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    corner = rng.uniform(0, [1700, 700], (n, 2))
    width = rng.uniform(30, 130, n)
    return np.c_[corner, corner + np.c_[width, 2.5 * width]].astype(np.float32)


def _noise(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return rng.standard_normal((n, dim), np.float32) / np.sqrt(dim)


def _unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
