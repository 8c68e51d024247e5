"""Heads that learn by online instance matching: OIM, and norm-aware embeddings (NAE).

Shape shorthand in this module:
    R: number of RoIs; C: channels of a stage; D: embedding size
"""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.norm_aware import norm_aware_linear
from person_search.layers.oim import OIMLoss
from person_search.layers.pooling import GlobalPool

from .base import (
    IDENTITY_HEAD_REGISTRY,
    IdentityHead,
    count_train_ids,
    pooling_kind,
    require_known_ids,
)


@IDENTITY_HEAD_REGISTRY.register()
class OIMHead(IdentityHead):
    """Global pooling, a linear projection, and online instance matching (Xiao et al., CVPR 2017).

    Args:
        in_channels: of each stage.
        num_ids: rows of the table; 0 for a model that is never trained.
        embedding_dim: D.
        pooling: "avg" or "max".
        queue_size, momentum, scale: see :class:`.OIMLoss`.
        loss_weight: factor of ``loss_oim``.
    """

    # What the embedding is made of, in equal parts.
    stages = ("res5",)

    uses_unlabeled = True
    training_only = memory = ("oim.",)

    @configurable
    def __init__(
        self,
        *,
        in_channels: dict[str, int],
        num_ids: int,
        embedding_dim: int = 256,
        pooling: str = "avg",
        queue_size: int = 5000,
        momentum: float = 0.5,
        scale: float = 30.0,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        absent = [stage for stage in self.stages if stage not in in_channels]
        if absent:
            raise ConfigError(
                f"MODEL.REID.HEAD {type(self).__name__} reads {absent}, but behind "
                f"MODEL.BACKBONE.SPLIT_AT there are {', '.join(in_channels)}"
            )
        if embedding_dim % len(self.stages):
            raise ConfigError(
                f"MODEL.REID.EMBEDDING_DIM {embedding_dim} cannot be split into "
                f"{len(self.stages)} equal parts"
            )
        self.in_channels, self.embedding_dim = in_channels, embedding_dim
        self.pool = GlobalPool(pooling)
        part = embedding_dim // len(self.stages)
        # A list, since weights files know modules that are named after a stage as the stage.
        self.projectors = nn.ModuleList(
            self.make_projector(in_channels[stage], part) for stage in self.stages
        )
        self.oim = OIMLoss(num_ids, queue_size, embedding_dim, momentum, scale)
        self.loss_weight = loss_weight

    @classmethod
    def from_config(cls, cfg, in_channels: dict[str, int]) -> dict:
        keys = cfg.MODEL.REID
        return {
            "in_channels": in_channels,
            "num_ids": count_train_ids(cfg),
            "embedding_dim": keys.EMBEDDING_DIM,
            "pooling": pooling_kind(cfg),
            "queue_size": keys.OIM.QUEUE_SIZE,
            "momentum": keys.OIM.MOMENTUM,
            "scale": keys.OIM.SCALE,
            "loss_weight": keys.LOSS_WEIGHT,
        }

    @staticmethod
    def make_projector(in_channels: int, dim: int) -> nn.Module:
        """(R, in_channels) -> (R, dim)."""
        linear = nn.Linear(in_channels, dim)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        return linear

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Maps (R, C, h, w) of each of ``stages`` to (R, D) rows."""
        projectors = zip(self.stages, self.projectors, strict=True)
        return torch.cat([project(self.pool(maps[stage])) for stage, project in projectors], dim=1)

    def losses(
        self,
        maps: dict[str, Tensor],
        rows: Tensor,
        person_ids: Tensor,
        positives: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of the labeled RoIs; unlabeled persons enter the queue.

        Args:
            maps: not read.
            rows: (R, D), what :meth:`forward` made of the maps.
            person_ids: (R,) int64: an id, UNLABELED or BACKGROUND.
            positives: makes identities of unlabeled persons, too; see :class:`.OIMLoss`.
        """
        get_event_storage().put_scalar("reid/num_labeled", int((person_ids >= 0).sum()))
        require_known_ids(person_ids, len(self.oim.table))
        loss = self.oim(F.normalize(rows.float()), person_ids, positives)
        return {"loss_oim": self.loss_weight * loss}


@IDENTITY_HEAD_REGISTRY.register()
class NormAwareHead(OIMHead):
    """The embedding of NAE (Chen et al., CVPR 2020), from the features before and behind res5.

    Its direction is what identifies the person. Its norm tells persons from background: see
    :class:`person_search.modeling.roi_heads.NormAwareOutputLayers`.
    """

    stages = ("res4", "res5")

    @staticmethod
    def make_projector(in_channels: int, dim: int) -> nn.Module:
        """See :meth:`OIMHead.make_projector`."""
        return norm_aware_linear(in_channels, dim)


def add_oim_config(cfg: CN) -> None:
    """Keys of online instance matching (Xiao et al., CVPR 2017); ``MODEL.REID`` is there already.

    The table has ``MODEL.REID.NUM_IDS`` rows.
    """
    cfg.MODEL.REID.OIM = CN()
    # Length of the queue of the latest persons without identity. Authors: 5000 for CUHK-SYSU;
    # SeqNet: 500 for PRW.
    cfg.MODEL.REID.OIM.QUEUE_SIZE = 5000
    # Share of the old row in an update
    cfg.MODEL.REID.OIM.MOMENTUM = 0.5
    # Factor of the similarities: 30 in all PyTorch code since, 10 in the original
    cfg.MODEL.REID.OIM.SCALE = 30.0
