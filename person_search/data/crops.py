"""Crops of single persons (DATALOADER.SOURCE crops): their records, mappers and loaders.

They are what the re-ID half of a person search model is pre-trained on. A crop record is a dict
with ``file_name``, ``bbox`` (xyxy in pixels of the file; None: the whole picture), ``person_id``
and ``camera_id``; those of re-ID sets say more, see :mod:`person_search.data.readers.reid`.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.data import DatasetCatalog, MapDataset
from detectron2.data import transforms as T
from detectron2.utils import comm
from torch.utils.data import DataLoader, Sampler

from ..errors import ConfigError, DatasetError
from .catalog import kind_of, load_sets, protocols_of
from .crop_cache import CropCache
from .loading import SeededDataset, images_per_process, make_loader, shared_seed
from .mappers import MAPPER_REGISTRY, build_mapper
from .readers.reid import GALLERY, QUERY
from .samplers import ClassAwareBatches, InferenceBatches, TrainingBatches
from .transforms import GaussianBlur, PadAndCrop, RandomErasing, RandomResizedCrop

logger = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------- records


def crop_records(records: list[dict], every_person: bool = False) -> list[dict]:
    """One crop record per person with an identity, or per person."""
    crops = [crop for record in records for crop in _crops_of(record)]
    return [crop for crop in crops if every_person or crop["person_id"] >= 0]


def _crops_of(record: dict) -> list[dict]:
    """The persons of a frame; a record of a re-ID set is a crop record already."""
    if "annotations" not in record:
        return [record]
    return [
        {
            "file_name": record["file_name"],
            "bbox": person["bbox"],
            "person_id": person["person_id"],
            "camera_id": record["camera_id"],
        }
        for person in record["annotations"]
    ]


def load_train_crops(names: Sequence[str], instance_discrimination: bool = False) -> list[dict]:
    """Crop records of one or several training sets; their identities are kept apart.

    Args:
        names: of the data sets.
        instance_discrimination: every crop is an identity of its own, and so are persons without
            one (self-supervised learning).

    Raises:
        DatasetError: there is no person, or none of any set has an identity.
    """
    crops = []
    for of_set in load_sets(names):
        crops += crop_records(of_set, every_person=instance_discrimination)
    if instance_discrimination:
        crops = [{**c, "person_id": index} for index, c in enumerate(crops)]
    if not crops:
        raise DatasetError(
            f"no person of DATASETS.TRAIN {tuple(names)} has an identity: there is nothing to "
            "learn re-identification from"
        )
    return crops


def load_test_crops(name: str) -> tuple[list[dict], list[dict]]:
    """(query crops, gallery crops) of a test set.

    A re-ID set says which are which. Of a person search set, the queries are those of the default
    protocol, and the gallery is every box with an identity.

    Raises:
        DatasetError: a re-ID set without queries: one for training.
    """
    frames = DatasetCatalog.get(name)
    if kind_of(name) == "reid":
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


# ------------------------------------------------------------------------------------- mapping


def erase_fill(cfg) -> tuple[float, ...]:
    """What ``INPUT.REID.ERASE_FILL`` writes, one value per channel of an image not normalized."""
    # The published code erases after normalization, with ImageNet's mean as if it were before. In
    # our images, which the model normalizes, that value is:
    mean, std = np.array(cfg.MODEL.PIXEL_MEAN), np.array(cfg.MODEL.PIXEL_STD)
    fills = {"published": mean + std * mean / 255, "mean": mean}
    if cfg.INPUT.REID.ERASE_FILL not in fills:
        raise ConfigError(
            f"INPUT.REID.ERASE_FILL is {cfg.INPUT.REID.ERASE_FILL!r}; legal: {', '.join(fills)}"
        )
    return tuple(fills[cfg.INPUT.REID.ERASE_FILL])


@MAPPER_REGISTRY.register()
class CropMapper:
    """A crop with its pixels to a model input: ``image`` (3, H, W) and ``person_id``.

    In training, in this order ("Bag of Tricks", 2019): flip, pad and crop, erase.

    Args:
        is_train: whether to augment.
        augmentations: detectron2's.
    """

    source = "crops"

    @configurable
    def __init__(self, is_train: bool, *, augmentations: list):
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        if not is_train:
            return {"is_train": False, "augmentations": []}
        keys = cfg.INPUT.REID
        augmentations = [T.RandomFlip()]
        if keys.PAD:
            augmentations.append(PadAndCrop(keys.PAD))
        if keys.ERASE_PROB:
            augmentations.append(RandomErasing(keys.ERASE_PROB, erase_fill(cfg)))
        return {"is_train": True, "augmentations": augmentations}

    def __call__(self, record: dict) -> dict:
        """Map a crop record with ``pixels`` (H, W, 3) uint8."""
        if "pixels" not in record:
            raise ConfigError(
                f"{type(self).__name__} got a record without pixels ({record['file_name']}): its "
                "records come from person_search.data.build_train_loader or build_test_loader "
                "with DATALOADER.SOURCE crops"
            )
        aug_input = T.AugInput(np.array(record["pixels"], dtype=np.float32))
        self.augmentations(aug_input)
        image = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        result = {k: v for k, v in record.items() if k != "pixels"}
        return {**result, "image": torch.as_tensor(image)}


@MAPPER_REGISTRY.register()
class SelfSupervisedCropMapper(CropMapper):
    """Views for self-supervised learning: position, size, color and sharpness say nothing.

    In training, in this order: flip, a part of the crop at full size, gray (one in five), blur (one
    in two), erase. Those of MoCo v2 without its jitter of colors, which tell persons apart, and
    with erasing, as LUPerson's authors found best (Fu et al., CVPR 2021).
    """

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        if not is_train:
            return {"is_train": False, "augmentations": []}
        augmentations = [
            T.RandomFlip(),
            RandomResizedCrop((0.2, 1.0)),
            T.RandomApply(T.RandomSaturation(0.0, 0.0), prob=0.2),
            T.RandomApply(GaussianBlur((0.1, 2.0)), prob=0.5),
            RandomErasing(cfg.INPUT.REID.ERASE_PROB, erase_fill(cfg)),
        ]
        return {"is_train": True, "augmentations": augmentations}


# ------------------------------------------------------------------------------------- loading


class CroppedRecords(Sequence):
    """Crop records joined with their pixels, read when asked for."""

    def __init__(self, crops: list[dict], cache: CropCache):
        self.crops, self.pixels = crops, cache.pixels

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict:
        return {**self.crops[index], "pixels": self.pixels[index], "crop_index": index}


def train_records(cfg) -> list[dict]:
    """The crop records of ``DATASETS.TRAIN``."""
    return load_train_crops(cfg.DATASETS.TRAIN, cfg.DATALOADER.INSTANCE_DISCRIMINATION)


def train_loader(cfg, crops: list[dict]) -> DataLoader:
    """Endless loader of training batches of crops, class-aware or plainly shuffled."""
    seed, batch_size = shared_seed(cfg), images_per_process(cfg)
    batches: Sampler
    if cfg.DATALOADER.CLASS_AWARE:
        batches = class_aware(cfg, crops, batch_size, seed)
    else:
        batches = TrainingBatches([0] * len(crops), batch_size, seed)
    logger.info("%d crops, %d per batch and process", len(crops), batch_size)
    dataset = SeededDataset(_with_pixels(cfg, crops), build_mapper(cfg, is_train=True), seed)
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def class_aware(cfg, crops: list[dict], batch_size: int, seed: int) -> ClassAwareBatches:
    """Batches of ``DATALOADER.NUM_INSTANCE`` crops of each of their identities."""
    instances = cfg.DATALOADER.NUM_INSTANCE
    if instances < 1 or batch_size % instances:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}, shared by "
            f"{comm.get_world_size()} processes, is no multiple of DATALOADER.NUM_INSTANCE "
            f"{instances}"
        )
    person_ids = [c["person_id"] for c in crops]
    return ClassAwareBatches(person_ids, cfg.SOLVER.IMS_PER_BATCH // instances, instances, seed)


def test_loader(cfg, name: str) -> DataLoader:
    """Loader of the query crops, then the gallery crops, of a test set; see ``crop_index``."""
    queries, gallery = load_test_crops(name)
    crops = _with_pixels(cfg, queries + gallery)
    batches = InferenceBatches([tuple(cfg.INPUT.REID.SIZE)] * len(crops), cfg.TEST.IMS_PER_BATCH)
    dataset = MapDataset(crops, build_mapper(cfg, is_train=False))
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def _with_pixels(cfg, crops: list[dict]) -> CroppedRecords:
    cache = CropCache(crops, cfg.INPUT.REID.CROP_CACHE, tuple(cfg.INPUT.REID.SIZE))
    return CroppedRecords(crops, cache)


def add_crops_config(cfg: CN) -> None:
    """Keys of crops of single persons."""
    # Batches of IMS_PER_BATCH / NUM_INSTANCE identities with NUM_INSTANCE crops each, all
    # identities equally often (STL, section 3.1). False: all crops shuffled.
    cfg.DATALOADER.CLASS_AWARE = True
    cfg.DATALOADER.NUM_INSTANCE = 4
    # Every crop is an identity of its own, also those of persons without one (self-supervised
    # learning). With NUM_INSTANCE 2 a batch holds two views of each of its crops.
    cfg.DATALOADER.INSTANCE_DISCRIMINATION = False
    cfg.INPUT.REID = CN()
    # (height, width) of a crop, also of those that BINetStyle and DKDStyle cut out of the scenes
    cfg.INPUT.REID.SIZE = (256, 128)
    # Folder that keeps the crops once they are cut out
    cfg.INPUT.REID.CROP_CACHE = "output/crops"
    # Pixels of zero padding before the random crop; 0: none
    cfg.INPUT.REID.PAD = 10
    # Random erasing: how often, and with what. "published": as the code of "Bag of Tricks", which
    # writes ImageNet's mean into the normalized image | "mean": the pixel mean
    cfg.INPUT.REID.ERASE_PROB = 0.5
    cfg.INPUT.REID.ERASE_FILL = "published"
