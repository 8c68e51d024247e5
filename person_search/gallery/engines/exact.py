"""Exact search in memory: the reference of the other engines, and enough for a notebook."""

from collections.abc import Iterator, Mapping

import numpy as np

from ..persons import Filter, Matches, Persons, without_embeds
from .base import GalleryIndex, GalleryModel

BLOCK = 65536
"""Rows per matrix product: a million at once would need gigabytes for the similarities."""


def exact_top_k(
    queries: np.ndarray, embeds: np.ndarray, top_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities and rows of the most similar embeddings.

    The best rows of each block compete with the best ones so far: with k = 2 and the similarities
    ``.9 .1 | .5 .7`` in two blocks, ``.9 .1`` are kept first, then ``.9 .7`` of the four.

    Args:
        queries: (Q, D) float32.
        embeds: (N, D) float32.
        top_k: k.

    Returns:
        (Q, min(k, N)) both, best first.
    """
    best: np.ndarray = np.zeros((len(queries), 0), np.float32)
    rows: np.ndarray = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(embeds), BLOCK):
        similarity = queries @ embeds[start : start + BLOCK].T
        here = np.broadcast_to(np.arange(start, start + similarity.shape[1]), similarity.shape)
        best, rows = np.hstack([best, similarity]), np.hstack([rows, here])
        if best.shape[1] > top_k:
            kept = np.argpartition(-best, top_k - 1, axis=1)[:, :top_k]
            best = np.take_along_axis(best, kept, axis=1)
            rows = np.take_along_axis(rows, kept, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(rows, order, axis=1)


class ExactIndex(GalleryIndex):
    """A gallery in memory.

    Args:
        uri: any name.
        model: what makes its embeddings.
    """

    def __init__(self, uri: str, model: GalleryModel | None):
        super().__init__(uri)
        self._notes: dict[str, str] = {}
        self._remember(model)
        self._keys: list[str] = []
        self._persons = Persons.none(self.model.dim)

    def _upsert(self, keys: list[str], persons: Persons) -> None:
        new = set(keys)
        kept = [row for row, key in enumerate(self._keys) if key not in new]
        self._persons = Persons.concatenate([self._persons[kept], persons])
        self._keys = [self._keys[row] for row in kept] + keys

    def _search(
        self, embeds: np.ndarray, top_k: int, where: Filter, with_embeds: bool
    ) -> list[Matches]:
        persons = self._persons[where.mask(self._persons)]
        best, rows = exact_top_k(embeds, persons.embed, top_k)
        if not with_embeds:
            persons = without_embeds(persons)
        return [Matches(persons[r], b) for b, r in zip(best, rows, strict=True)]

    def delete(self, where: Filter) -> int:
        """See :class:`GalleryIndex`."""
        kept = np.flatnonzero(~where.mask(self._persons))
        removed = len(self._persons) - len(kept)
        self._persons = self._persons[kept]
        self._keys = [self._keys[row] for row in kept]
        return removed

    def count(self, where: Filter | None = None) -> int:
        """See :class:`GalleryIndex`."""
        return int((where or Filter()).mask(self._persons).sum())

    def rows(self, where: Filter | None = None, embeds: bool = True) -> Iterator[Persons]:
        """See :class:`GalleryIndex`."""
        found = self._persons[(where or Filter()).mask(self._persons)]
        if len(found):
            yield found if embeds else without_embeds(found)

    def optimize(self) -> None:
        """Nothing to do."""

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """See :class:`GalleryIndex`."""
        self._notes.update(notes)

    def read_notes(self, prefix: str = "") -> dict[str, str]:
        """See :class:`GalleryIndex`."""
        return {name: text for name, text in self._notes.items() if name.startswith(prefix)}

    def delete_notes(self, names: list[str]) -> None:
        """See :class:`GalleryIndex`."""
        for name in names:
            self._notes.pop(name, None)

    def engine(self) -> str:
        """See :class:`GalleryIndex`."""
        return "memory of this process, exact search"
