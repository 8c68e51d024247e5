"""An identity head for pre-training without labels.

Shape shorthand in this module:
    R: number of crops, two views of each of R / 2; C, h, w: map of the identification net
"""

import torch
from detectron2.config import configurable
from detectron2.utils.events import get_event_storage
from torch import Tensor

from person_search.errors import ConfigError
from person_search.layers.siamese import predictor, projector, simsiam_loss, spread

from .base import IDENTITY_HEAD_REGISTRY, IdentityHead


@IDENTITY_HEAD_REGISTRY.register()
class SimSiamHead(IdentityHead):
    """Global average pooling, and two views of the same crop that predict each other.

    For pre-training without labels (``DATALOADER.INSTANCE_DISCRIMINATION``, ``NUM_INSTANCE 2``).
    The pooled feature is the embedding; projector and predictor are of no use afterwards.

    Args:
        in_channels: of each stage; that of "res5" is C, the size of embeddings, projections and
            predictions.
    """

    training_only = ("projector.", "predictor.")

    @configurable
    def __init__(self, *, in_channels: dict[str, int]):
        super().__init__()
        self.in_channels, self.embedding_dim = in_channels, in_channels["res5"]
        self.projector = projector(self.embedding_dim)
        self.predictor = predictor(self.embedding_dim)

    @classmethod
    def from_config(cls, cfg, in_channels: dict[str, int]) -> dict:
        return {"in_channels": in_channels}

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Maps, of which "res5" (R, C, h, w) is read, to (R, C) rows."""
        return maps["res5"].mean(dim=(2, 3))

    def losses(
        self, maps: dict[str, Tensor], rows: Tensor, person_ids: Tensor
    ) -> dict[str, Tensor]:
        """SimSiam's loss; R may be 0.

        Args:
            maps: not read.
            rows: (R, C), what :meth:`forward` made of them.
            person_ids: (R,) each id twice: the two views of one crop.

        Raises:
            ConfigError: an id comes once, or more than twice.
        """
        views = [rows[of_view] for of_view in _pairs(person_ids)]
        if len(person_ids):  # batch norm sees each view on its own, as published
            views = [self.projector(view) for view in views]
        get_event_storage().put_scalar("simsiam/spread", spread(views[0].detach()))
        return {"loss_simsiam": simsiam_loss(*views, self.predictor)}


def _pairs(person_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the first and of the second view of every crop.

    For example ids 3, 8, 8, 3 give the rows (0, 1) and (3, 2).
    """
    if (person_ids.unique(return_counts=True)[1] != 2).any():
        raise ConfigError(
            "SimSiamHead learns from two views of each crop: set DATALOADER.CLASS_AWARE True, "
            "DATALOADER.INSTANCE_DISCRIMINATION True and DATALOADER.NUM_INSTANCE 2"
        )
    order = torch.argsort(person_ids, stable=True)
    return order[0::2], order[1::2]
