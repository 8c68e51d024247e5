"""Embedders of crops, which pool nothing: the whole map is the feature of the one person."""

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes
from torch import Tensor, nn

from person_search.errors import ConfigError

from .base import REID_POOLER_REGISTRY, in_features


@REID_POOLER_REGISTRY.register()
class WholeImage(nn.Module):
    """Stands in the place of a pooler in models of crops alone (:meth:`.Embedder.pool_crops`).

    Args:
        channels: of the map of the base.
    """

    @configurable
    def __init__(self, *, channels: int):
        super().__init__()
        self.channels = channels

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        (feature,) = in_features(cfg, input_shape, 1)
        return {"channels": input_shape[feature].channels}

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Always a ConfigError."""
        raise ConfigError(
            "MODEL.REID.POOLER WholeImage is for models of crops, which have no boxes: choose "
            "SingleLevelPooler or MRFP for scenes"
        )
