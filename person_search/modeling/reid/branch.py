"""The re-ID branch: pooler, identification net, head.

Shape shorthand in this module:
    R: number of boxes, summed over the images; D: embedding size
"""

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes
from torch import Tensor, nn

from person_search.errors import ConfigError

from ..backbone import build_split_architecture
from .heads import build_reid_head
from .poolers import build_reid_pooler


class ReIDBranch(nn.Module):
    """Gives a box of a scene its embedding, and learns to.

    Detections, query boxes and ground-truth boxes all go through :meth:`embed`.

    Args:
        pooler: ``(features, boxes) -> (R, C, H, W)``.
        net: identification net, the stages behind the split point.
        head: see :data:`.heads.REID_HEAD_REGISTRY`.
    """

    @configurable
    def __init__(self, *, pooler: nn.Module, net: nn.Module, head: nn.Module):
        super().__init__()
        self.pooler, self.net, self.head = pooler, net, head

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        architecture = build_split_architecture(cfg)
        split_at = cfg.MODEL.BACKBONE.SPLIT_AT
        pooler = build_reid_pooler(cfg, input_shape)
        if pooler.channels != architecture.channels(split_at):
            raise ConfigError(
                f"MODEL.REID.IN_FEATURES {list(cfg.MODEL.REID.IN_FEATURES)} give "
                f"{pooler.channels} channels, but the identification net behind "
                f"MODEL.BACKBONE.SPLIT_AT {split_at} takes {architecture.channels(split_at)}"
            )
        return {
            "pooler": pooler,
            "net": architecture.make_tail(split_at, cfg.MODEL.REID.LAST_STRIDE),
            "head": build_reid_head(cfg, architecture.channels("res5")),
        }

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Embeddings (R, D), not normalised, of xyxy boxes in network-input pixels."""
        return self.head(self.maps(features, boxes))

    def maps(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """What the head sees of each box: (R, C, h, w)."""
        return self.net(self.pooler(features, boxes))

    def embed(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Unit embeddings (R, D) in float32; (0, D) without boxes."""
        return F.normalize(self(features, boxes).float())

    def losses(
        self, features: dict[str, Tensor], boxes: list[Boxes], person_ids: list[Tensor]
    ) -> dict[str, Tensor]:
        """Losses of the head for boxes with person ids, one entry per image.

        Nobody at all gives zero losses that still touch every parameter, so that all ranks reduce
        the same gradients; the branch is not run, since batch norm has no statistics of nothing.
        """
        ids = torch.cat(person_ids)
        if len(ids) > 0:
            return self.head.losses(self.maps(features, boxes), ids)
        nobody = ids.new_zeros((0, self.head.in_channels, 1, 1), dtype=torch.float32)
        zero = sum(p.sum() for p in self.parameters()) * 0.0
        return {name: loss + zero for name, loss in self.head.losses(nobody, ids).items()}
