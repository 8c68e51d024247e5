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

from ..backbone import STAGES, build_split_architecture
from .heads import build_reid_head
from .poolers import build_reid_pooler


class ReIDBranch(nn.Module):
    """Gives a box of a scene its embedding, and learns to.

    Detections, query boxes and ground-truth boxes all go through :meth:`embed`.

    Args:
        split_at: stage that the base ends with, whose maps the pooler reads.
        pooler: ``(features, boxes) -> (R, C, H, W)``.
        net: identification net, the stages behind the split point; children are named by stage.
        head: see :data:`.heads.REID_HEAD_REGISTRY`.
    """

    @configurable
    def __init__(self, *, split_at: str, pooler: nn.Module, net: nn.Sequential, head: nn.Module):
        super().__init__()
        self.split_at, self.pooler, self.net, self.head = split_at, pooler, net, head

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        architecture = build_split_architecture(cfg)
        split_at = cfg.MODEL.BACKBONE.SPLIT_AT
        stages = STAGES[STAGES.index(split_at) :]
        channels = {stage: architecture.channels(stage) for stage in stages}
        pooler = build_reid_pooler(cfg, input_shape)
        if pooler.channels != channels[split_at]:
            raise ConfigError(
                f"MODEL.REID.IN_FEATURES {list(cfg.MODEL.REID.IN_FEATURES)} give "
                f"{pooler.channels} channels, but the identification net behind "
                f"MODEL.BACKBONE.SPLIT_AT {split_at} takes {channels[split_at]}"
            )
        return {
            "split_at": split_at,
            "pooler": pooler,
            "net": architecture.make_tail(split_at, cfg.MODEL.REID.LAST_STRIDE),
            "head": build_reid_head(cfg, channels),
        }

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Embeddings (R, D), not normalized, of xyxy boxes in network-input pixels."""
        return self.head(self.maps(features, boxes))

    def maps(self, features: dict[str, Tensor], boxes: list[Boxes]) -> dict[str, Tensor]:
        """What the head sees of each box: stage name -> (R, C, h, w), the pooled feature first.

        No box at all in training gives maps of no rows, whose gradients still touch every
        parameter, so that all ranks reduce the same ones. Nothing is run for them, since batch
        norm has no statistics of nothing.
        """
        if self.training and boxes and not any(len(b) for b in boxes):  # crops come without boxes
            zero = sum(p.sum() for p in self.parameters()) * 0.0
            return {s: zero.new_zeros(0, c, 1, 1) + zero for s, c in self.head.in_channels.items()}
        maps = {self.split_at: self.pooler(features, boxes)}
        x = maps[self.split_at]
        for name, stage in self.net.named_children():
            x = maps[name] = stage(x)
        return maps

    def embed(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Unit embeddings (R, D) in float32; (0, D) without boxes."""
        return F.normalize(self(features, boxes).float())

    def learn(
        self, features: dict[str, Tensor], boxes: list[Boxes], person_ids: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Embeddings (R, D), not normalized, and the head's losses; 0 for nobody.

        Args:
            features, boxes: see :meth:`forward`.
            person_ids: (n,) of each image's boxes.
        """
        maps = self.maps(features, boxes)
        embeddings = self.head(maps)
        return embeddings, self.head.losses(maps, embeddings, torch.cat(person_ids))
