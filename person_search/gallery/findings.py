"""A whole search: who is looked for, the hits, and whether the person is there at all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from .calibration import Decision, Threshold
from .engines import GalleryIndex
from .persons import Filter, Hit
from .queries import Wanted
from .ranking import rank


@dataclass(frozen=True, eq=False)
class Finding:
    """A person that was looked for.

    Attributes:
        wanted: this person.
        hits: best first.
        decision: whether the person is in the gallery, where that was asked.
    """

    wanted: Wanted
    hits: list[Hit]
    decision: Decision | None = None


def look_for(
    gallery: GalleryIndex,
    people: Sequence[Wanted],
    top_k: int = 20,
    where: Filter | None = None,
    best_per_frame: bool = True,
    without: Collection[tuple[str, float]] = (),
    threshold: Threshold | None = None,
    rerank: bool = False,
) -> list[Finding]:
    """One finding for each of one or more people.

    Args:
        gallery: where to look.
        people: who is looked for.
        top_k, where, best_per_frame, without, rerank: as :func:`rank` takes them.
        threshold: decides whether somebody is there, and which hits are similar enough.
    """
    embeds = np.stack([wanted.embed for wanted in people])
    least = threshold and threshold.similarity
    found = rank(gallery, embeds, top_k, where, best_per_frame, without, least, rerank)
    decisions = [None] * len(people)
    if threshold:
        best = rank(gallery, embeds, 1, where, without=without)
        decisions = [Decision(threshold, hits[0].similarity if hits else None) for hits in best]
    return list(map(Finding, people, found, decisions))
