"""Exact search in memory: the reference of the other engines, and enough for a notebook."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from ..persons import Filter, Hit, Persons
from .base import GalleryIndex, GalleryModel

BLOCK = 65536
"""Rows per matrix product: a million at once would need gigabytes for the similarities."""


def exact_top_k(
    queries: torch.Tensor, embeds: torch.Tensor, top_k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarities and rows of the most similar embeddings.

    Args:
        queries: (Q, D) float32.
        embeds: (N, D) float32.
        top_k: k.

    Returns:
        (Q, min(k, N)) both, best first.
    """
    best = queries.new_zeros(len(queries), 0)
    rows = torch.zeros(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(embeds), BLOCK):
        similarity = queries @ embeds[start : start + BLOCK].T
        found, at = similarity.topk(min(top_k, similarity.shape[1]))
        best, order = torch.cat([best, found], 1).topk(min(top_k, best.shape[1] + found.shape[1]))
        rows = torch.cat([rows, at + start], 1).gather(1, order)
    return best, rows


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
        empty = Persons.of_frame(np.zeros((0, 4)), np.zeros(0), np.zeros((0, self.model.dim)), "")
        self._persons = empty

    def _upsert(self, keys: list[str], persons: Persons) -> None:
        new = set(keys)
        kept = [row for row, key in enumerate(self._keys) if key not in new]
        self._persons = Persons.concatenate([self._persons[kept], persons])
        self._keys = [self._keys[row] for row in kept] + keys

    def _search(
        self, embeds: np.ndarray, top_k: int, where: Filter, columns: tuple[str, ...]
    ) -> list[list[Hit]]:
        persons = self._persons[where.mask(self._persons)]
        best, rows = exact_top_k(torch.from_numpy(embeds), torch.from_numpy(persons.embed), top_k)
        wanted = {name: getattr(persons, name) for name in columns}
        return [
            [
                Hit.from_row({name: column[i] for name, column in wanted.items()}, s)
                for s, i in zip(*of_query, strict=True)
            ]
            for of_query in zip(best.tolist(), rows.tolist(), strict=True)
        ]

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
            yield found if embeds else replace(found, embed=found.embed[:, :0])

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
