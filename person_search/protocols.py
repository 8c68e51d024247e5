"""What a test set asks: its queries, and the frames in which each of them is searched.

Shape shorthand in this module:
    F: number of frames of the test set
    Q: number of queries
    K: number of gallery entries, summed over the queries
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np


class GalleryRule(Enum):
    """A gallery that is a rule over all frames of the test set."""

    OTHER_FRAMES = "all frames but the query's own"
    OTHER_CAMERAS = "all frames of other cameras"
    ALL_FRAMES = "all frames"


@dataclass(frozen=True, eq=False)
class GalleryLists:
    """A gallery given as one explicit list of frames per query (CUHK-SYSU), kept in CSR form.

    Entries of query ``q`` are the rows ``offsets[q]:offsets[q + 1]``. Rows are kept exactly as the
    protocol lists them, doubled frames included; how to count those is the evaluator's choice.

    Attributes:
        offsets: (Q + 1,) int64.
        frames: (K,) int64, indices into the frames of the test set.
        has_target: (K,) bool, whether the protocol says that the person is in that frame.
        boxes: (K, 4) float64 xyxy of the person; meaningless where ``has_target`` is False.
    """

    offsets: np.ndarray
    frames: np.ndarray
    has_target: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True, eq=False)
class SearchProtocol:
    """Queries and their galleries.

    Attributes:
        name: what a result table prints, e.g. "CUHK-SYSU, gallery 100".
        query_frames: (Q,) int64, index of the frame that holds the query.
        query_boxes: (Q, 4) float64 xyxy in pixels of that frame.
        query_ids: (Q,) int64 person ids of the test set.
        gallery: a rule over all frames, or explicit lists.
    """

    name: str
    query_frames: np.ndarray
    query_boxes: np.ndarray
    query_ids: np.ndarray
    gallery: GalleryRule | GalleryLists
