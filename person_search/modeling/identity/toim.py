"""The identity head of AlignPS: features of locations, matched online and told apart by triplets.

Shape shorthand in this module:
    R: number of locations; D: embedding size, the channels of the map
"""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.utils.events import get_event_storage
from torch import Tensor

from person_search.layers.id_losses import FocalCrossEntropy
from person_search.layers.metric_losses import batch_hard_triplet
from person_search.layers.oim import OIMLoss

from .base import IDENTITY_HEAD_REGISTRY, IdentityHead, count_train_ids, require_known_ids


@IDENTITY_HEAD_REGISTRY.register()
class TOIMHead(IdentityHead):
    """Triplet-aided online instance matching (AlignPS, Yan et al., CVPR 2021, section 3.4).

    What was pooled at a location is the row: there is nothing between ("re-ID first"). Online
    instance matching has the focal form ``-(1 - p)^2 log p``. As in the authors' code it is the sum
    over the labeled locations, divided by the number of all locations of persons. The triplets are
    made of the rows of the labeled locations and, without gradient, the rows that the table has of
    their identities.

    Args:
        in_channels: of the one map.
        num_ids: rows of the table; 0 for a model that is never trained.
        queue_size, momentum, scale, queue_scale: see :class:`.OIMLoss`.
        triplet_weight: factor of ``loss_triplet``; 0: there is none.
        loss_weight: factor of ``loss_oim``.
    """

    uses_unlabeled = True
    training_only = memory = ("oim.",)

    @configurable
    def __init__(
        self,
        *,
        in_channels: dict[str, int],
        num_ids: int,
        queue_size: int = 5000,
        momentum: float = 0.5,
        scale: float = 10.0,
        queue_scale: float = 10.0,
        triplet_weight: float = 1.0,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        self.in_channels = in_channels
        ((self.map, self.embedding_dim),) = in_channels.items()
        criterion = FocalCrossEntropy(gamma=2.0)
        size = num_ids, queue_size, self.embedding_dim
        self.oim = OIMLoss(*size, momentum, scale, queue_scale, criterion)
        self.triplet_weight, self.loss_weight = triplet_weight, loss_weight

    @classmethod
    def from_config(cls, cfg, in_channels: dict[str, int]) -> dict:
        keys = cfg.MODEL.REID
        return {
            "in_channels": in_channels,
            "num_ids": count_train_ids(cfg),
            "queue_size": keys.OIM.QUEUE_SIZE,
            "momentum": keys.OIM.MOMENTUM,
            "scale": keys.OIM.SCALE,
            "queue_scale": keys.TOIM.QUEUE_SCALE,
            "triplet_weight": keys.TOIM.TRIPLET_WEIGHT,
            "loss_weight": keys.LOSS_WEIGHT,
        }

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Pooled features (R, D, 1, 1) of the map to (R, D) rows."""
        return maps[self.map].flatten(1)

    def losses(
        self, maps: dict[str, Tensor], rows: Tensor, person_ids: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`.IdentityHead.losses`."""
        labeled = person_ids >= 0
        get_event_storage().put_scalar("reid/num_labeled", int(labeled.sum()))
        require_known_ids(person_ids, len(self.oim.table))
        rows = F.normalize(rows.float())
        losses = {}
        if self.triplet_weight > 0:
            triplet = self._triplet(rows[labeled], person_ids[labeled])
            losses["loss_triplet"] = self.triplet_weight * triplet
        share = labeled.sum() / max(len(person_ids), 1)
        losses["loss_oim"] = self.loss_weight * share * self.oim(rows, person_ids)
        return losses

    def _triplet(self, rows: Tensor, ids: Tensor) -> Tensor:
        if len(ids) == 0:  # the mean over nothing is not a number
            return rows.sum() * 0.0
        known = ids.unique()
        known = known[self.oim.table[known].any(dim=1)]  # a row that is 0 is nobody's yet
        rows = torch.cat([rows, self.oim.table[known]])
        return batch_hard_triplet(rows, torch.cat([ids, known]))


def add_toim_config(cfg: CN) -> None:
    """Keys of TOIMHead beside those of online instance matching (``MODEL.REID.OIM``)."""
    cfg.MODEL.REID.TOIM = CN()
    # Factor of the similarities with the queue; MODEL.REID.OIM.SCALE is that of the table.
    cfg.MODEL.REID.TOIM.QUEUE_SCALE = 10.0
    # Weight of the triplet loss; 0: none, as the authors' configs of PRW have it
    cfg.MODEL.REID.TOIM.TRIPLET_WEIGHT = 1.0
