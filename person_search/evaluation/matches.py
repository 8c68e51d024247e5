"""The best matches of one query, for people to look at."""

from dataclasses import dataclass

import numpy as np

from .galleries import Galleries
from .metrics import required_iou
from .results import SearchResults
from .segments import expand_segments, iou_of_pairs


@dataclass(frozen=True)
class Match:
    """One found box.

    Attributes:
        frame: index of the gallery frame.
        box: (4,) xyxy.
        similarity: cosine of the embeddings.
        correct: it overlaps the person's box in that frame enough (IoU of the search protocol).
    """

    frame: int
    box: np.ndarray
    similarity: float
    correct: bool


def best_matches(
    results: SearchResults,
    galleries: Galleries,
    query: int,
    number: int = 10,
    det_thresh: float = 0.5,
) -> list[Match]:
    """The most similar box of each gallery frame, best frame first, equal ones in gallery order.

    Args:
        results: detections and queries.
        galleries: where to search, see :func:`resolve_galleries`.
        query: index of the query.
        number: how many to return at most.
        det_thresh: detections with a lower score are not searched.
    """
    frames = np.flatnonzero(galleries.searched[query])
    frames = frames[np.argsort(galleries.positions(query)[frames])]
    rows = expand_segments(results.det_offsets, frames)
    frame_of_row = np.repeat(frames, np.diff(results.det_offsets)[frames])
    searched = results.dets[rows, 4] >= det_thresh
    rows, frame_of_row = rows[searched], frame_of_row[searched]
    similarities = results.det_embs[rows] @ results.query_embs[query]
    order = np.argsort(-similarities, kind="stable")
    _, first = np.unique(frame_of_row[order], return_index=True)
    best = order[np.sort(first)[:number]]

    targets = slice(*galleries.target_offsets[query : query + 2])
    target_box = dict(
        zip(galleries.target_frames[targets].tolist(), galleries.target_boxes[targets], strict=True)
    )
    matches = []
    for i in best:
        frame, box = int(frame_of_row[i]), results.dets[rows[i], :4]
        correct = frame in target_box and _overlaps(target_box[frame], box)
        matches.append(Match(frame, box, float(similarities[i]), correct))
    return matches


def _overlaps(target: np.ndarray, box: np.ndarray) -> bool:
    return bool(iou_of_pairs(target[None], box[None])[0] >= required_iou(target[None])[0])
