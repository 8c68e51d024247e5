"""What the loaders of every source share: seeded augmentations, batch sizes, collation."""

import random
from collections.abc import Callable, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import ConfigError


@contextmanager
def seeded(*numbers: int):
    """numpy's and Python's global generators, seeded inside and as before outside."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


class SeededDataset(Dataset):
    """Maps records with augmentations that depend on (seed, position in the stream) alone.

    So neither the number of workers nor a stop and resume changes what a model is shown.
    """

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict], seed: int):
        self.records, self.mapper, self.seed = records, mapper, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        with seeded(self.seed, position):
            return self.mapper(self.records[index])


def make_loader(dataset: Dataset, batches: Sampler, num_workers: int) -> DataLoader:
    """A loader of lists of dicts."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator,
        # Starting a loader draws a number. From torch's global generator it would shift those of
        # the model, in the step in which a run starts or resumes.
        generator=torch.Generator(),
    )


def shared_seed(cfg) -> int:
    """The seed of the training batches, the same on all ranks: ``SEED``, or one drawn now."""
    return cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()


def images_per_process(cfg) -> int:
    """Share of ``SOLVER.IMS_PER_BATCH`` of each process."""
    world_size = comm.get_world_size()
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be shared evenly by "
            f"{world_size} processes"
        )
    return cfg.SOLVER.IMS_PER_BATCH // world_size
