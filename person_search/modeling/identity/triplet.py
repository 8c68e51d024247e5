"""An identity head that learns from triplets alone.

Shape shorthand in this module:
    R: number of boxes; C, h, w: map of the identification net; D: embedding size
"""

from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.metric_losses import batch_hard_triplet, semi_hard_triplet

from .base import IDENTITY_HEAD_REGISTRY, IdentityHead

MINING = {"semi_hard": semi_hard_triplet, "batch_hard": batch_hard_triplet}
"""How negatives are chosen -> the loss, each with the margin of its own paper."""


@IDENTITY_HEAD_REGISTRY.register()
class TripletHead(IdentityHead):
    """Global average pooling and one linear layer (Loesch et al., ICIP 2019).

    It has no classes, so that it learns from any number of identities, and knows none at test.

    Args:
        in_channels: of each stage; C is that of "res5".
        embedding_dim: D.
        mining: a name in :data:`MINING`. The paper begins with "semi_hard" and goes on with
            "batch_hard", which from the beginning can collapse all embeddings to one point.

    Raises:
        ConfigError: there is no such mining.
    """

    @configurable
    def __init__(self, *, in_channels: dict[str, int], embedding_dim: int, mining: str):
        super().__init__()
        if mining not in MINING:
            raise ConfigError(
                f"MODEL.REID.TRIPLET_MINING is {mining!r}; legal: {', '.join(MINING)}"
            )
        self.in_channels, self.embedding_dim = in_channels, embedding_dim
        self.loss = MINING[mining]
        self.projection = nn.Linear(in_channels["res5"], embedding_dim)

    @classmethod
    def from_config(cls, cfg, in_channels: dict[str, int]) -> dict:
        return {
            "in_channels": in_channels,
            "embedding_dim": cfg.MODEL.REID.EMBEDDING_DIM,
            "mining": cfg.MODEL.REID.TRIPLET_MINING,
        }

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Maps, of which "res5" (R, C, h, w) is read, to (R, D) rows."""
        return self.projection(maps["res5"].mean(dim=(2, 3)))

    def losses(
        self, maps: dict[str, Tensor], rows: Tensor, person_ids: Tensor
    ) -> dict[str, Tensor]:
        """The triplet loss of the labeled rows; 0 where there is none.

        Args:
            maps: not read.
            rows: (R, D), what :meth:`forward` made of them.
            person_ids: (R,) int64; only ids >= 0 take part.
        """
        labeled = person_ids >= 0
        get_event_storage().put_scalar("reid/num_labeled", int(labeled.sum()))
        if not labeled.any():
            return {"loss_triplet": rows.sum() * 0.0}
        return {"loss_triplet": self.loss(rows[labeled].float(), person_ids[labeled])}


def add_triplet_config(cfg: CN) -> None:
    """Keys of TripletHead; ``MODEL.REID`` is there already."""
    # "semi_hard" (margin 1, normalized rows) | "batch_hard" (margin .3, rows as they are)
    cfg.MODEL.REID.TRIPLET_MINING = "semi_hard"
