"""A whole search: from the persons who are looked for to the hits that people want to see.

Shape shorthand in this module:
    N: rows of the gallery; Q: queries; D: embedding size
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from person_search.errors import CalibrationError
from person_search.evaluation.reranking import KReciprocal, k_reciprocal_distance

from .adapting import read_adaptation
from .calibration import Threshold
from .engines import GalleryIndex
from .persons import Filter, Hit, Matches
from .queries import Query

FIRST_GUESS = 4
"""Rows that are asked for at first, as a multiple of the wanted number; then ever more."""

SAME_SCENE = 1.0
"""Seconds within which frames of a video show the same scene."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        top_k: number of hits per query at most.
        where: only such rows.
        best_per_frame: list the best hit of each frame only.
        leave_out_own_scene: leave out hits in the pictures that show the query.
        threshold: list only hits that reach it, and say whether the person is there; None: all.
        rerank: order by k-reciprocal re-ranking of the most similar rows, with the values of its
            paper (Zhong et al., CVPR 2017). Similarities stay cosines, which then need not fall.
    """

    top_k: int = 20
    where: Filter = Filter()
    best_per_frame: bool = True
    leave_out_own_scene: bool = False
    threshold: Threshold | None = None
    rerank: bool = False


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What was found of one query.

    Attributes:
        query: the person who was looked for.
        hits: best first.
        best: similarity of the most similar person, listed or not; None: no row fits.
        threshold: the one of the options.
    """

    query: Query
    hits: list[Hit]
    best: float | None = None
    threshold: Threshold | None = None

    @property
    def in_gallery(self) -> bool | None:
        """Whether the person is in the gallery; None if no threshold was given."""
        if self.threshold is None:
            return None
        return self.best is not None and self.best >= self.threshold.similarity

    @property
    def decision(self) -> str:
        """:attr:`in_gallery` in words; "" if no threshold was given."""
        if self.in_gallery is None:
            return ""
        if self.in_gallery:
            return "in the gallery"
        who = "nobody fits" if self.best is None else f"the most similar has {self.best:.3f}"
        return f"not in the gallery: {who}"


def search(
    gallery: GalleryIndex, queries: Sequence[Query], options: SearchOptions | None = None
) -> list[SearchResult]:
    """Look for one or more persons.

    Args:
        gallery: where to look.
        queries: who is looked for.
        options: how.

    Returns:
        One result per query, in the same order. In an adapted gallery similarities are those of
        adapted embeddings.

    Raises:
        CalibrationError: the threshold was calibrated for another version of this gallery's
            adaptation, or for none.
    """
    options = options or SearchOptions()
    embeds = np.stack([query.embed for query in queries])
    adaptation = read_adaptation(gallery)
    version = None if adaptation is None else adaptation.version
    _check_threshold(gallery, options.threshold, version)
    if adaptation is not None:
        embeds = adaptation.adapt_queries(gallery, queries)
    least = -np.inf if options.threshold is None else options.threshold.similarity
    own = [_scenes(query) if options.leave_out_own_scene else () for query in queries]
    number = options.top_k
    if options.best_per_frame or options.leave_out_own_scene:
        number *= FIRST_GUESS
    if options.rerank:
        number = max(number, KReciprocal().n_top)
    # Several rows may be of one frame, or of the query's own scene: ask for more rows until there
    # are enough hits, or the gallery has no other row that could become one.
    while True:
        if adaptation is None:
            found = gallery.nearest(embeds, number, options.where, with_embeds=options.rerank)
        else:
            found = adaptation.nearest(gallery, embeds, number, options.where)
        others = [_outside(matches, scenes) for matches, scenes in zip(found, own, strict=True)]
        kept = [
            _ranked(embed, matches, least, options)
            for embed, matches in zip(embeds, others, strict=True)
        ]
        if all(
            len(hits) >= options.top_k
            or len(matches) < number
            or (len(other) and matches.similarity[-1] < least)
            for hits, matches, other in zip(kept, found, others, strict=True)
        ):
            break
        number *= FIRST_GUESS
    return [
        SearchResult(
            query=query,
            hits=hits[: options.top_k].hits(),
            best=float(other.similarity[0]) if len(other) else None,
            threshold=options.threshold,
        )
        for query, hits, other in zip(queries, kept, others, strict=True)
    ]


def _check_threshold(
    gallery: GalleryIndex, threshold: Threshold | None, version: str | None
) -> None:
    if threshold is None or threshold.false_alarm_rate is None or threshold.adaptation == version:
        return
    now = "not adapted" if version is None else f"adapted (version {version})"
    was = threshold.adaptation
    of = "the model's own embeddings" if was is None else f"version {was} of an adaptation"
    raise CalibrationError(
        f"{gallery.uri} is {now}, and the threshold was calibrated for {of}: run person-search "
        f"calibrate --data DATASET --gallery {gallery.uri}, or give a similarity"
    )


def _scenes(query: Query) -> set[tuple[str, float]]:
    """(path, seconds) of the pictures that show a query."""
    return {(os.path.abspath(image.picture), image.seconds) for image in query.images}


def _outside(matches: Matches, scenes: Collection[tuple[str, float]]) -> Matches:
    """The rows that are not in one of the scenes."""
    kept = np.ones(len(matches), bool)
    for picture, seconds in scenes:
        near = np.abs(matches.persons.seconds - seconds) < SAME_SCENE
        kept &= ~(near & (matches.persons.picture == picture))
    return matches[kept]


def _ranked(query: np.ndarray, matches: Matches, least: float, options: SearchOptions) -> Matches:
    """The rows in the order in which they are listed, without those that are not listed."""
    if options.rerank:
        matches = _reranked(query, matches)
    matches = matches[matches.similarity >= least]
    return _best_of_frames(matches) if options.best_per_frame else matches


def _best_of_frames(matches: Matches) -> Matches:
    """The first row of each frame: frames a b a c give the rows 0, 1 and 3."""
    frames = zip(matches.persons.picture, matches.persons.frame.tolist(), strict=True)
    first: dict[tuple[str, int], int] = {}
    for row, frame in enumerate(frames):
        first.setdefault(frame, row)
    return matches[list(first.values())]


def _reranked(query: np.ndarray, matches: Matches) -> Matches:
    """The first ``n_top`` rows in their new order, then the others."""
    options = KReciprocal()
    top = matches.persons.embed[: options.n_top]
    if not len(top):
        return matches
    distance = k_reciprocal_distance(np.vstack([query, top]), options)
    rest = np.arange(len(top), len(matches))
    return matches[np.concatenate([np.argsort(distance, kind="stable"), rest])]
