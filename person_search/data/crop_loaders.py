"""Loaders of person crops: batches of P identities with K crops each, and test crops.

Shape shorthand in this module:
    N: number of crops; P: identities per batch; K: crops per identity
"""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MapDataset, MetadataCatalog
from detectron2.utils import comm
from torch.utils.data import DataLoader, Sampler

from person_search.errors import ConfigError, DatasetError

from .build import SeededDataset, images_per_process, make_loader, protocols_of
from .crops import CropCache, crop_records, load_train_crops
from .mappers import build_mapper
from .readers.reid import GALLERY, QUERY
from .samplers import InferenceBatches, TrainingBatches

logger = logging.getLogger(__name__)


class CroppedRecords(Sequence):
    """Crop records joined with their pixels, read when asked for."""

    def __init__(self, crops: list[dict], cache: CropCache):
        self.crops, self.pixels = crops, cache.pixels

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict:
        return {**self.crops[index], "pixels": self.pixels[index], "crop_index": index}


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


def train_crops(cfg) -> list[dict]:
    """The crop records that a model is trained on."""
    return load_train_crops(cfg.DATASETS.TRAIN, cfg.DATALOADER.INSTANCE_DISCRIMINATION)


def build_crop_train_loader(cfg) -> DataLoader:
    """Endless loader of training batches of crops, class-aware or plainly shuffled."""
    crops = train_crops(cfg)
    cache = CropCache(crops, cfg.INPUT.REID.CROP_CACHE, tuple(cfg.INPUT.REID.SIZE))
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    batch_size = images_per_process(cfg)
    if cfg.DATALOADER.CLASS_AWARE:
        instances = cfg.DATALOADER.NUM_INSTANCE
        if instances < 1 or batch_size % instances:
            raise ConfigError(
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}, shared by "
                f"{comm.get_world_size()} processes, is no multiple of DATALOADER.NUM_INSTANCE "
                f"{instances}"
            )
        person_ids = [c["person_id"] for c in crops]
        num_ids = cfg.SOLVER.IMS_PER_BATCH // instances
        batches = ClassAwareBatches(person_ids, num_ids, instances, seed)
    else:
        batches = TrainingBatches([0] * len(crops), batch_size, seed)
    logger.info("%d crops, %d per batch and process", len(crops), batch_size)
    dataset = SeededDataset(CroppedRecords(crops, cache), build_mapper(cfg, True), seed)
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def load_test_crops(name: str) -> tuple[list[dict], list[dict]]:
    """(query crops, gallery crops) of a test set.

    A re-ID set says which are which. Of a person search set, the queries are those of the default
    protocol, and the gallery is every box with an identity.

    Raises:
        DatasetError: a re-ID set without queries: one for training.
    """
    frames = DatasetCatalog.get(name)
    if MetadataCatalog.get(name).get("evaluator_type", None) == "reid":
        queries, gallery = ([c for c in frames if c["role"] == r] for r in (QUERY, GALLERY))
        if not queries:
            raise DatasetError(f"{name} holds no queries: it is no test set")
        return queries, gallery
    protocol = next(iter(protocols_of(name).values()))()
    queries = [
        {
            "file_name": frames[frame]["file_name"],
            "bbox": box,
            "person_id": person,
            "camera_id": frames[frame]["camera_id"],
        }
        for frame, box, person in zip(
            protocol.query_frames.tolist(),
            protocol.query_boxes.tolist(),
            protocol.query_ids.tolist(),
            strict=True,
        )
    ]
    return queries, crop_records(frames)


def build_crop_test_loader(cfg, name: str) -> DataLoader:
    """Loader of the query crops, then the gallery crops, of a test set; see ``crop_index``."""
    queries, gallery = load_test_crops(name)
    crops = queries + gallery
    cache = CropCache(crops, cfg.INPUT.REID.CROP_CACHE, tuple(cfg.INPUT.REID.SIZE))
    batches = InferenceBatches([tuple(cfg.INPUT.REID.SIZE)] * len(crops), cfg.TEST.IMS_PER_BATCH)
    dataset = MapDataset(CroppedRecords(crops, cache), build_mapper(cfg, False))
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)
