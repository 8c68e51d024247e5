"""Pooled features of persons (DATALOADER.SOURCE features): written once, then trained on.

Sequential training leaves the detector as it is, so what the embedder pools of a ground-truth box
is always the same. Reading it is much less work than computing it from the frame in every epoch.

Shape shorthand in this module:
    N: number of boxes with an identity; C, h, w: the pooled feature of a box
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode as CN
from torch.utils.data import DataLoader

from ..errors import ConfigError
from .catalog import kind_of
from .crop_cache import open_array
from .crops import class_aware, load_train_crops
from .frames import PersonSearchMapper, test_loader  # noqa: F401  (a test sees whole frames)
from .loading import SeededDataset, images_per_process, make_loader, shared_seed
from .mappers import MAPPER_REGISTRY, build_mapper

logger = logging.getLogger(__name__)


@MAPPER_REGISTRY.register()
class FeatureMapper(PersonSearchMapper):
    """In training a record with its feature to ``pooled`` (C, h, w) and ``person_id``.

    At test it is a :class:`PersonSearchMapper`.
    """

    source = "features"

    def __call__(self, record: dict) -> dict:
        """Map one record; the record itself stays as it is."""
        if not self.is_train:
            return super().__call__(record)
        # A copy: the cache is read-only, and its pages are to be given back.
        return {**record, "pooled": torch.from_numpy(np.array(record["pooled"]))}


class PooledRecords(Sequence):
    """Box records joined with their features, read when asked for."""

    def __init__(self, boxes: list[dict], pooled: np.ndarray):
        self.boxes, self.pooled = boxes, pooled

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> dict:
        return {**self.boxes[index], "pooled": self.pooled[index]}


def train_records(cfg) -> list[dict]:
    """One record per box with an identity in ``DATASETS.TRAIN``, in the order of the cache.

    Raises:
        ConfigError: a set holds crops, which have no scene to pool from.
        DatasetError: nobody has an identity.
    """
    for name in cfg.DATASETS.TRAIN:
        if kind_of(name) == "reid":
            raise ConfigError(
                f"DATASETS.TRAIN: {name} holds pictures of single persons, but "
                "DATALOADER.SOURCE features pools persons of whole frames"
            )
    return load_train_crops(cfg.DATASETS.TRAIN)


def train_loader(cfg, boxes: list[dict]) -> DataLoader:
    """Endless loader of batches with ``DATALOADER.NUM_INSTANCE`` boxes of each identity."""
    path = cfg.DATALOADER.FEATURES.FILE
    if not path:
        raise ConfigError(
            "DATALOADER.FEATURES.FILE is empty: person_search.engine.Trainer writes the features "
            "and sets it"
        )
    seed, batch_size = shared_seed(cfg), images_per_process(cfg)
    pooled = open_array(path, "feature cache", np.float16, (len(boxes), None, None, None))
    logger.info("features of %d boxes, %d per batch and process", len(boxes), batch_size)
    dataset = SeededDataset(PooledRecords(boxes, pooled), build_mapper(cfg, is_train=True), seed)
    batches = class_aware(cfg, boxes, batch_size, seed)
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def add_features_config(cfg: CN) -> None:
    """Keys of pooled features."""
    cfg.DATALOADER.FEATURES = CN()
    # Folder that keeps them
    cfg.DATALOADER.FEATURES.CACHE = "output/features"
    # The file in it that a training reads; the training itself sets it
    cfg.DATALOADER.FEATURES.FILE = ""
