"""Batches of indices: training streams that can be resumed at any batch, and test batches.

Every training stream is a pure function of its seed. Its n-th batch is the same in every run, so a
run resumes at batch n by skipping n batches, which costs no image (attribute ``start``).

Shape shorthand in this module:
    N: number of crops; P: identities per batch; K: crops per identity
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from detectron2.utils import comm
from torch.utils.data import Sampler

from ..errors import ConfigError


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
    """An endless stream of batches that hold frames of one size where it can be helped.

    Padding a scene changes the statistics of instance norm, and with them every feature. Epochs are
    shuffled one behind the other; every rank takes each ``world_size``-th frame of that stream and
    fills one batch per group as frames come in.

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


class ClassAwareBatches(Sampler[list[tuple[int, int]]]):
    """An endless stream of batches of P identities with K crops each; a function of the seed.

    Identities come in a random order, all of them before any comes again, so each is seen equally
    often however many crops it has (STL, section 3.1). An identity with fewer than K crops repeats
    some. The n-th batch is the same in every run; ``start`` batches are skipped.

    Args:
        person_ids: of the N crops.
        num_ids, num_instances: P of all ranks together, and K.
        seed: the same on all ranks.
    """

    def __init__(self, person_ids: Sequence[int], num_ids: int, num_instances: int, seed: int):
        self.crops_of = {
            int(i): np.flatnonzero(np.asarray(person_ids) == i) for i in np.unique(person_ids)
        }
        if len(self.crops_of) < num_ids:
            raise ConfigError(
                f"a batch of SOLVER.IMS_PER_BATCH crops with DATALOADER.NUM_INSTANCE "
                f"{num_instances} each takes {num_ids} identities, but the training set has only "
                f"{len(self.crops_of)}: lower IMS_PER_BATCH or raise NUM_INSTANCE"
            )
        self.num_ids, self.num_instances, self.seed = num_ids, num_instances, seed
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()
        self.start = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield lists of (position in the stream, crop index), K crops of an identity together."""
        rng = np.random.default_rng(self.seed)
        waiting: list[int] = []
        number = 0
        while True:
            if len(waiting) < self.num_ids:
                # Identities left over from the last round come first, and not twice in a batch.
                fresh = rng.permutation(list(self.crops_of))
                again = np.isin(fresh, waiting)
                waiting += fresh[~again].tolist() + fresh[again].tolist()
            batch_ids, waiting = waiting[: self.num_ids], waiting[self.num_ids :]
            chosen = [self._choose(rng, i) for i in batch_ids]
            if number >= self.start:
                mine = np.concatenate(chosen[self.rank :: self.world_size]).tolist()
                first = (number * self.world_size + self.rank) * len(mine)
                yield [(first + k, index) for k, index in enumerate(mine)]
            number += 1

    def _choose(self, rng: np.random.Generator, person_id: int) -> np.ndarray:
        crops = self.crops_of[person_id]
        if len(crops) >= self.num_instances:
            return rng.choice(crops, self.num_instances, replace=False)
        extra = rng.choice(crops, self.num_instances - len(crops))
        return np.concatenate([crops, extra])


class HybridBatches(Sampler[list[tuple[int, int]]]):
    """An endless stream of batches with fixed numbers of images of each kind.

    A pure function of the seed: the n-th batch is the same in every run; ``start`` batches are
    skipped. Each rank takes its part of one stream per kind.

    Args:
        sets: per kind, the numbers of images of its data sets; images are counted through all sets
            of all kinds, in this order.
        numbers: per kind, images in the batch of one rank.
        equally: whether the sets of a kind take turns; else its images come in a random order, all
            of them before any comes again.
        seed: the same on all ranks.
    """

    def __init__(
        self, sets: Sequence[Sequence[int]], numbers: Sequence[int], equally: bool, seed: int
    ):
        self.sets, self.numbers, self.equally, self.seed = sets, numbers, equally, seed
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()
        self.start = 0

    def _stream(self, kind: int) -> Iterator[tuple[int, int]]:
        """(position, image) of a kind. Positions of no two kinds, or ranks, are the same."""
        generator = torch.Generator().manual_seed(self.seed + kind)
        first = sum(sum(sizes) for sizes in self.sets[:kind])
        sizes = self.sets[kind] if self.equally else [sum(self.sets[kind])]
        parts = []
        for size in sizes:
            parts.append(_shuffled(first, size, generator))
            first += size
        position = kind
        while True:
            # Shuffle the sets every round; otherwise a rank that takes few images per round would
            # always draw from the same sets.
            for turn in torch.randperm(len(parts), generator=generator).tolist():
                yield position, next(parts[turn])
                position += len(self.sets)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield lists of (position, image), in which the kinds are spread evenly.

        So the parts of ``SOLVER.ACCUMULATE`` have their share of each.
        """
        together = [number * self.world_size for number in self.numbers]
        streams = [
            islice(self._stream(kind), self.start * number, None) if number else iter(())
            for kind, number in enumerate(together)
        ]
        # The k-th of n images of a kind stands at (k + 1/2) / n.
        places = [(k + 0.5) / number for number in self.numbers for k in range(number)]
        order = sorted(range(len(places)), key=places.__getitem__)
        while True:
            batch = []
            for stream, of_all, number in zip(streams, together, self.numbers, strict=True):
                first = self.rank * number
                batch += list(islice(stream, of_all))[first : first + number]
            yield [batch[index] for index in order]


def _shuffled(first: int, size: int, generator: torch.Generator) -> Iterator[int]:
    """``size`` numbers from ``first`` on in a random order, again and again."""
    while True:
        for index in torch.randperm(size, generator=generator).tolist():
            yield first + index


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
