"""From a gallery rule, or from gallery lists, to the frames and targets of every query.

Shape shorthand in this module:
    F: frames of the test set    Q: queries    K: gallery entries    T: targets
"""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from ..errors import ResultsError
from ..protocols import GalleryLists, GalleryRule
from .results import SearchResults
from .segments import lengths_to_offsets, segment_of_row


class Conventions(Enum):
    """How the oddities of published gallery lists are counted; rules over all frames have none."""

    CORRECTED = "every listed frame once, never the query's own"
    REFERENCE = "doubled frames searched once but counted twice, own frame kept (SeqNet)"


@dataclass(frozen=True, eq=False)
class Galleries:
    """Where every query is searched, and what is to be found there.

    Attributes:
        rule: the gallery in words.
        conventions: how lists were read.
        searched: (Q, F) bool, the frames of each gallery.
        lists: the published lists, whose order decides ties; None means the order of the frames.
        target_offsets: (Q + 1,) bounds of the targets of each query.
        target_frames: (T,) frame of each target; a frame holds at most one target of a query.
        target_boxes: (T, 4) float64 xyxy.
        n_targets: (Q,) denominator of recall and AP. Exceeds the number of targets only where
            :attr:`Conventions.REFERENCE` counts a frame twice.
    """

    rule: str
    conventions: Conventions
    searched: np.ndarray
    lists: GalleryLists | None
    target_offsets: np.ndarray
    target_frames: np.ndarray
    target_boxes: np.ndarray
    n_targets: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(Q,) number of frames in each gallery."""
        return self.searched.sum(axis=1)

    def positions(self, query: int) -> np.ndarray:
        """(F,) place of each searched frame in a query's gallery; undefined for other frames."""
        n_frames = self.searched.shape[1]
        return np.arange(n_frames) if self.lists is None else _places(self.lists, query, n_frames)


def resolve_galleries(
    results: SearchResults,
    gallery: GalleryRule | GalleryLists | None = None,
    conventions: Conventions = Conventions.CORRECTED,
) -> Galleries:
    """Frames and targets of every query.

    With a rule, the target in a frame is its first ground-truth box with the id of the query. With
    lists, it is the listed box (the first one, if a frame is listed with several).

    Args:
        results: the test set.
        gallery: what to search; None takes what the file asks for.
        conventions: how to count doubled rows and the query's own frame in lists.

    Raises:
        ResultsError: a camera rule without cameras.
    """
    gallery = results.gallery if gallery is None else gallery
    if isinstance(gallery, GalleryLists):
        return _from_lists(results, gallery, conventions)
    return _from_rule(results, gallery, conventions)


def sample_galleries(galleries: Galleries, size: int, seed: int) -> Galleries:
    """Random sub-galleries that keep every target: how a search does in a smaller gallery.

    A query keeps all frames that hold its person; frames drawn from the rest of its gallery fill it
    up to ``size``. With one seed smaller galleries lie within larger ones, and the draw depends on
    nothing but the shape of ``searched``: several models are searched in the same frames.

    Args:
        galleries: to draw from; one with fewer than ``size`` frames stays as it is.
        size: frames per query, more only where the targets alone are more.
        seed: of the draw.

    Raises:
        ValueError: ``size`` is not positive.
    """
    if size < 1:
        raise ValueError(f"a gallery of {size} frames: it has to hold at least one")
    n_queries, n_frames = galleries.searched.shape
    priority = np.random.default_rng(seed).random((n_queries, n_frames))
    priority[~galleries.searched] = np.inf
    query = np.repeat(np.arange(n_queries), np.diff(galleries.target_offsets))
    priority[query, galleries.target_frames] = -1
    nth = min(size, n_frames) - 1
    last = np.partition(priority, nth, axis=1)[:, nth : nth + 1]
    return replace(
        galleries,
        rule=f"{size} of {galleries.rule}, all targets among them (draw {seed})",
        searched=galleries.searched & (priority <= last),
    )


def has_cameras(results: SearchResults) -> bool:
    """Whether the camera of every frame and of every query is known."""
    return bool((results.frame_cam >= 0).all() and (results.query_cam >= 0).all())


def _from_rule(results: SearchResults, rule: GalleryRule, conventions: Conventions) -> Galleries:
    n_queries, n_frames = len(results.query_ids), len(results.frame_names)
    searched = np.ones((n_queries, n_frames), bool)
    if rule is GalleryRule.OTHER_CAMERAS:
        if not has_cameras(results):
            raise ResultsError(
                "frame_cam or query_cam holds -1: a gallery of other cameras needs every camera"
            )
        searched = results.frame_cam != results.query_cam[:, None]
    if rule is not GalleryRule.ALL_FRAMES:
        known = np.flatnonzero(results.query_frame_index >= 0)
        searched[known, results.query_frame_index[known]] = False

    # First ground-truth box of every (id, frame), sorted by id and then by frame. Persons 7 in
    # frames 0 and 2 and 8 in frame 2, of 3 frames: keys 21 23 26, ids 7 7 8, frames 0 2 2. A query
    # of 7 takes the rows low 0 to high 2; those whose frame it does not search are dropped.
    rows = np.flatnonzero(results.gt_ids != results.unlabeled_id)
    keys = results.gt_ids[rows].astype(np.int64) * n_frames
    keys, first = np.unique(keys + segment_of_row(results.gt_offsets)[rows], return_index=True)
    ids, frames = np.divmod(keys, n_frames)
    low = np.searchsorted(ids, results.query_ids, "left")
    high = np.searchsorted(ids, results.query_ids, "right")
    query = np.repeat(np.arange(n_queries), high - low)
    nth = np.arange(len(query)) - np.repeat(lengths_to_offsets(high - low)[:-1] - low, high - low)
    kept = searched[query, frames[nth]]
    query, nth = query[kept], nth[kept]

    n_targets = np.bincount(query, minlength=n_queries)
    return Galleries(
        rule=rule.value,
        conventions=conventions,
        searched=searched,
        lists=None,
        target_offsets=lengths_to_offsets(n_targets),
        target_frames=frames[nth],
        target_boxes=results.gt_boxes[rows[first[nth]]].astype(np.float64),
        n_targets=n_targets,
    )


def _from_lists(results: SearchResults, lists: GalleryLists, conventions: Conventions) -> Galleries:
    n_queries, n_frames = len(results.query_ids), len(results.frame_names)
    searched = np.zeros((n_queries, n_frames), bool)
    for q in range(n_queries):
        searched[q, lists.frames[lists.offsets[q] : lists.offsets[q + 1]]] = True
    rows = np.flatnonzero(lists.has_target)
    query = np.searchsorted(lists.offsets, rows, "right") - 1
    n_targets = np.bincount(query, minlength=n_queries)
    if conventions is Conventions.REFERENCE:
        # A doubled frame is searched with its first row, whether or not that one has the person.
        kept = np.empty(len(rows), bool)
        bounds = lengths_to_offsets(n_targets)
        for q in range(n_queries):
            mine = rows[bounds[q] : bounds[q + 1]]
            first = lists.offsets[q] + _places(lists, q, n_frames)[lists.frames[mine]]
            kept[bounds[q] : bounds[q + 1]] = mine == first
        rows, query = rows[kept], query[kept]
    else:
        own = np.flatnonzero(results.query_frame_index >= 0)
        searched[own, results.query_frame_index[own]] = False
        kept = searched[query, lists.frames[rows]]
        rows, query = rows[kept], query[kept]
        first = np.unique(query * n_frames + lists.frames[rows], return_index=True)[1]
        rows, query = rows[np.sort(first)], query[np.sort(first)]
        n_targets = np.bincount(query, minlength=n_queries)
    return Galleries(
        rule="the protocol's list",
        conventions=conventions,
        searched=searched,
        lists=lists,
        target_offsets=lengths_to_offsets(np.bincount(query, minlength=n_queries)),
        target_frames=lists.frames[rows],
        target_boxes=np.asarray(lists.boxes[rows], np.float64),
        n_targets=n_targets,
    )


def _places(lists: GalleryLists, query: int, n_frames: int) -> np.ndarray:
    """(F,) place in the list of a query where each frame is first listed, 0 where it is not."""
    listed = lists.frames[lists.offsets[query] : lists.offsets[query + 1]]
    places = np.zeros(n_frames, np.int64)
    # Frames 5 2 5 are written from the last to the first: 5 ends with place 0, 2 with place 1.
    places[listed[::-1]] = np.arange(len(listed))[::-1]
    return places
