"""From a crop record and its pixels to the input of a re-ID model."""

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import transforms as T

from person_search.errors import ConfigError

from .mappers import MAPPER_REGISTRY
from .transforms import GaussianBlur, PadAndCrop, RandomErasing, RandomResizedCrop


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
