"""From the most similar persons to a list that people want to see."""

from collections.abc import Collection

import numpy as np

from .index import GalleryIndex
from .persons import Filter, Hit

FIRST_GUESS = 4
"""So many times the wanted number of hits are asked for at first; then ever more."""

SAME_SCENE = 1.0
"""Seconds within which frames of a video show the same scene."""


def fuse(embeds: np.ndarray) -> np.ndarray:
    """One embedding (1, D) of a person shown by several (n, D): their mean direction."""
    mean = embeds.mean(axis=0, keepdims=True)
    return mean / np.linalg.norm(mean)


def rank(
    gallery: GalleryIndex,
    embeds: np.ndarray,
    top_k: int = 20,
    where: Filter | None = None,
    best_per_frame: bool = True,
    without: Collection[tuple[str, float]] = (),
) -> list[list[Hit]]:
    """The best hits of each query, best first.

    Args:
        gallery: where to look.
        embeds: (Q, D), unit length.
        top_k: how many hits of each at most.
        where: only such rows.
        best_per_frame: the best hit of each frame alone.
        without: (picture, seconds) of scenes that are left out, such as the query's own.
    """
    if not best_per_frame and not without:
        return gallery.search(embeds, top_k, where)
    asked, there = FIRST_GUESS * top_k, gallery.count(where)
    while True:
        found = gallery.search(embeds, asked, where)
        kept = [_keep(hits, best_per_frame, without)[:top_k] for hits in found]
        full = all(
            len(k) == top_k or len(hits) < asked for k, hits in zip(kept, found, strict=True)
        )
        if full or asked >= there:
            return kept
        asked *= FIRST_GUESS


def _keep(
    hits: list[Hit], best_per_frame: bool, without: Collection[tuple[str, float]]
) -> list[Hit]:
    best: dict[tuple, Hit] = {}
    for hit in hits:
        own = any(
            hit.picture == picture and abs(hit.seconds - seconds) < SAME_SCENE
            for picture, seconds in without
        )
        if not own:
            frame = hit.picture, hit.frame
            best.setdefault(frame if best_per_frame else (*frame, hit.number), hit)
    return list(best.values())
