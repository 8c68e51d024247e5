"""Batches of frame indices that can be resumed, and that never mix sizes where it can be helped.

Padding a scene changes the statistics of instance norm, and with them every feature. So frames of
one size share a batch.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence

import torch
from detectron2.utils import comm
from torch.utils.data import Sampler


def size_groups(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[Hashable]:
    """Group of every frame: its size where enough frames share it, else its orientation.

    Args:
        sizes: (height, width) per frame.
        batch_size: a size has its own group if at least eight batches of it exist.
    """
    counts = Counter(sizes)
    return [
        size if counts[size] >= 8 * batch_size else "wide" if size[1] >= size[0] else "tall"
        for size in sizes
    ]


class TrainingBatches(Sampler[list[tuple[int, int]]]):
    """An endless stream of batches, a pure function of the seed.

    Epochs are shuffled one behind the other; every rank takes each ``world_size``-th frame of that
    stream and fills one batch per group as frames come in. The n-th batch is the same in every
    run, so a run resumes at batch n by skipping n batches, which costs no image.

    Args:
        groups: group of each frame, see :func:`size_groups`.
        batch_size: frames per batch of one rank.
        seed: the same on all ranks.

    Attributes:
        start: number of batches to skip; set before iterating.
    """

    def __init__(self, groups: Sequence[Hashable], batch_size: int, seed: int):
        self.groups, self.batch_size, self.seed = list(groups), batch_size, seed
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()
        self.start = 0

    def _stream(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed)
        position = 0
        while True:
            for index in torch.randperm(len(self.groups), generator=generator).tolist():
                if position % self.world_size == self.rank:
                    yield position, index
                position += 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield lists of (position in the stream, frame index)."""
        pending = defaultdict(list)
        skip = self.start
        for position, index in self._stream():
            batch = pending[self.groups[index]]
            batch.append((position, index))
            if len(batch) == self.batch_size:
                del pending[self.groups[index]]
                if skip:
                    skip -= 1
                else:
                    yield batch


class InferenceBatches(Sampler[list[int]]):
    """Every frame once, in batches of exactly one size, shared out over the ranks."""

    def __init__(self, sizes: Sequence[tuple[int, int]], batch_size: int):
        by_size = defaultdict(list)
        for index, size in enumerate(sizes):
            by_size[size].append(index)
        batches = [
            indices[i : i + batch_size]
            for indices in by_size.values()
            for i in range(0, len(indices), batch_size)
        ]
        self.batches = batches[comm.get_rank() :: comm.get_world_size()]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
