"""From the most similar persons to a list that people want to see."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from person_search.evaluation.reranking import KReciprocal, k_reciprocal_distance

from .engines import GalleryIndex
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
    threshold: float | None = None,
    rerank: bool = False,
) -> list[list[Hit]]:
    """The best hits of each query, best first.

    Args:
        gallery: where to look.
        embeds: (Q, D), unit length.
        top_k: how many hits of each at most.
        where: only such rows.
        best_per_frame: the best hit of each frame alone.
        without: (picture, seconds) of scenes that are left out, such as the query's own.
        threshold: only hits of that similarity or more.
        rerank: order by k-reciprocal re-ranking of the most similar hits, with the values of its
            paper. Similarities stay cosines, which then need not fall.
    """
    options = KReciprocal() if rerank else None
    least = -np.inf if threshold is None else threshold
    asked = top_k * (FIRST_GUESS if best_per_frame or without else 1)
    asked, there = max(asked, options.n_top if rerank else 0), gallery.count(where)
    while True:
        found = gallery.search(embeds, asked, where, with_embeds=rerank)
        kept = []
        for query, hits in zip(embeds, found, strict=True):
            others = [hit for hit in hits if not _shown_in(hit, without)]
            if options:
                others = _rerank(query, others, options)
            others = [hit for hit in others if hit.similarity >= least]
            kept.append(_best_of_frames(others)[:top_k] if best_per_frame else others[:top_k])
        full = all(
            len(k) == top_k or len(hits) < asked or hits[-1].similarity < least
            for k, hits in zip(kept, found, strict=True)
        )
        if full or asked >= there:
            return kept
        asked *= FIRST_GUESS


def _shown_in(hit: Hit, scenes: Collection[tuple[str, float]]) -> bool:
    return any(
        hit.picture == picture and abs(hit.seconds - seconds) < SAME_SCENE
        for picture, seconds in scenes
    )


def _best_of_frames(hits: list[Hit]) -> list[Hit]:
    first: dict[tuple, Hit] = {}
    for hit in hits:
        first.setdefault((hit.picture, hit.frame), hit)
    return list(first.values())


def _rerank(query: np.ndarray, hits: list[Hit], options: KReciprocal) -> list[Hit]:
    """The first ``n_top`` hits in their new order, then the others; without embeddings."""
    top = hits[: options.n_top]
    if top:
        nearest = np.stack([query, *(hit.embed for hit in top)])
        order = np.argsort(k_reciprocal_distance(nearest, options), kind="stable")
        hits = [top[i] for i in order] + hits[options.n_top :]
    return [replace(hit, embed=None) for hit in hits]
