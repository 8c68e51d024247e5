"""Heads that learn identities as classes.

Shape shorthand in this module:
    R: number of RoIs; C, h, w: map of the identification net; D: embedding size; L: identities
"""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.batch_norm import RowBatchNorm
from person_search.layers.id_losses import (
    ClassBalancedCrossEntropy,
    CrossEntropy,
    FocalCrossEntropy,
)
from person_search.layers.metric_losses import CenterLoss, batch_hard_triplet

from .base import IDENTITY_HEAD_REGISTRY, IdentityHead, count_train_ids, require_known_ids


def train_id_counts(cfg) -> Tensor:
    """(L,) number of labeled boxes or crops of each identity of ``DATASETS.TRAIN``."""
    counts = []
    for name in cfg.DATASETS.TRAIN:
        persons = (p for r in DatasetCatalog.get(name) for p in r.get("annotations", [r]))
        ids = [p["person_id"] for p in persons if p["person_id"] >= 0]
        length = MetadataCatalog.get(name).num_person_ids
        counts.append(torch.bincount(torch.tensor(ids, dtype=torch.int64), minlength=length))
    return torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64)


class _NoTrainingData(nn.Module):
    """The class-balanced loss of a model whose training data is not to be read: for tests alone."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Always a ConfigError."""
        raise ConfigError(
            "MODEL.REID.ID_LOSS.NAME class_balanced weighs the identities of DATASETS.TRAIN: train "
            "it with MODEL.REID.NUM_IDS -1, which counts them"
        )


def build_id_loss(cfg) -> nn.Module:
    """The identification loss that ``MODEL.REID.ID_LOSS`` names."""
    keys = cfg.MODEL.REID.ID_LOSS
    if keys.NAME == "cross_entropy":
        return CrossEntropy(keys.LABEL_SMOOTHING)
    if keys.NAME == "class_balanced":
        if not 0 <= keys.BETA < 1 or keys.NORMALIZE not in ("samples", "weights"):
            raise ConfigError(
                f"MODEL.REID.ID_LOSS.BETA is {keys.BETA}, NORMALIZE is {keys.NORMALIZE!r}; legal: "
                "0 <= BETA < 1, and samples or weights"
            )
        if cfg.MODEL.REID.NUM_IDS >= 0:
            return _NoTrainingData()
        return ClassBalancedCrossEntropy(train_id_counts(cfg), keys.BETA, keys.NORMALIZE)
    if keys.NAME == "focal":
        return FocalCrossEntropy(keys.GAMMA)
    raise ConfigError(
        f"MODEL.REID.ID_LOSS.NAME is {keys.NAME!r}; legal: cross_entropy, class_balanced, focal"
    )


@IDENTITY_HEAD_REGISTRY.register()
class SoftmaxHead(IdentityHead):
    """Global average pooling, BN neck, and one class per identity (STL, sections 3.1 and 3.3).

    The BN's output is the embedding. Its shift stays 0, so that the classifier without bias and
    the cosine of the test agree (Luo et al., "Bag of Tricks", 2019).

    Args:
        in_channels: of each stage; C = D is that of "res5".
        num_ids: L; 0 for a model that is never trained.
        id_loss: ``(logits (R, L), targets (R,)) -> scalar``; None: cross entropy.
        loss_weight: factor of ``loss_id``.
    """

    training_only = ("classifier.",)

    @configurable
    def __init__(
        self,
        *,
        in_channels: dict[str, int],
        num_ids: int,
        id_loss: nn.Module | None = None,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        self.in_channels, self.embedding_dim = in_channels, in_channels["res5"]
        self.bn = RowBatchNorm(self.embedding_dim)
        self.bn.bias.requires_grad_(False)
        self.classifier = nn.Linear(self.embedding_dim, num_ids, bias=False)
        if num_ids:
            nn.init.normal_(self.classifier.weight, std=0.001)
        self.id_loss = id_loss or CrossEntropy()
        self.loss_weight = loss_weight

    @classmethod
    def from_config(cls, cfg, in_channels: dict[str, int]) -> dict:
        num_ids = count_train_ids(cfg)
        return {
            "in_channels": in_channels,
            "num_ids": num_ids,
            "id_loss": build_id_loss(cfg) if num_ids else None,
            "loss_weight": cfg.MODEL.REID.LOSS_WEIGHT,
        }

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Maps, of which "res5" (R, C, h, w) is read, to (R, C) rows."""
        return self.bn(maps["res5"].mean(dim=(2, 3)))

    def losses(
        self, maps: dict[str, Tensor], rows: Tensor, person_ids: Tensor
    ) -> dict[str, Tensor]:
        """Identification loss of the labeled RoIs (STL, Eq. 3); 0 where there is none.

        Args:
            maps: see :meth:`forward`; R may be 0.
            rows: (R, D), what :meth:`forward` made of them.
            person_ids: (R,) int64; only ids >= 0 take part.
        """
        require_known_ids(person_ids, self.classifier.out_features)
        labeled = person_ids >= 0
        get_event_storage().put_scalar("reid/num_labeled", int(labeled.sum()))
        logits, ids = self.classifier(rows[labeled]), person_ids[labeled]
        if len(ids) == 0:
            return {"loss_id": logits.sum() * 0.0}
        with torch.no_grad():
            accuracy = (logits.argmax(dim=1) == ids).float().mean()
        get_event_storage().put_scalar("reid/id_accuracy", accuracy.item())
        return {"loss_id": self.loss_weight * self.id_loss(logits, ids)}


@IDENTITY_HEAD_REGISTRY.register()
class BagOfTricksHead(SoftmaxHead):
    """Softmax head with triplet and center loss on the pooled features (STL, Eq. 1).

    Both see the feature before the BN neck, not normalized ("Bag of Tricks", 2019).

    Args:
        triplet_margin: of the batch-hard triplet loss, which STL leaves to "Bag of Tricks".
        triplet_weight, center_weight: factors of ``loss_triplet`` and ``loss_center``.
        center_lr: step of the centers.
        kwargs: of :class:`SoftmaxHead`.
    """

    training_only = ("classifier.", "center_loss.")

    @configurable
    def __init__(
        self,
        *,
        triplet_margin: float = 0.3,
        triplet_weight: float = 1.0,
        center_weight: float = 5e-4,
        center_lr: float = 0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.triplet_margin, self.triplet_weight = triplet_margin, triplet_weight
        self.center_weight = center_weight
        self.center_loss = CenterLoss(kwargs["num_ids"], self.embedding_dim, center_lr)

    @classmethod
    def from_config(cls, cfg, in_channels: dict[str, int]) -> dict:
        ret = super().from_config(cfg, in_channels)
        return {**ret, "center_weight": cfg.MODEL.REID.CENTER_WEIGHT}

    def losses(
        self, maps: dict[str, Tensor], rows: Tensor, person_ids: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`SoftmaxHead.losses`."""
        losses = super().losses(maps, rows, person_ids)
        labeled = person_ids >= 0
        pooled, ids = maps["res5"].mean(dim=(2, 3))[labeled], person_ids[labeled]
        triplet = pooled.sum() * 0.0
        if len(ids) > 0:
            triplet = batch_hard_triplet(pooled.float(), ids, self.triplet_margin)
        return {
            **losses,
            "loss_triplet": self.triplet_weight * triplet,
            # Also without anybody: other ranks may have somebody, and the centers are of all.
            "loss_center": self.center_weight * self.center_loss(pooled, ids),
        }


def add_softmax_config(cfg: CN) -> None:
    """Keys of SoftmaxHead and BagOfTricksHead; ``MODEL.REID`` is there already."""
    cfg.MODEL.REID.ID_LOSS = CN()
    # "cross_entropy" | "class_balanced" (Cui et al., CVPR 2019) | "focal" (Lin et al., ICCV 2017)
    cfg.MODEL.REID.ID_LOSS.NAME = "cross_entropy"
    # Of cross_entropy. STL's person search: 0; its re-ID pre-training: 0.1 ("Bag of Tricks")
    cfg.MODEL.REID.ID_LOSS.LABEL_SMOOTHING = 0.0
    # Of class_balanced: beta, one of .9, .99, .999, .9999 in the paper; and what the weighted sum
    # is divided by: "samples" (the authors' code) | "weights" (torch's weighted mean)
    cfg.MODEL.REID.ID_LOSS.BETA = 0.9999
    cfg.MODEL.REID.ID_LOSS.NORMALIZE = "samples"
    # Of focal.
    cfg.MODEL.REID.ID_LOSS.GAMMA = 2.0
    # Of BagOfTricksHead: weight of the center loss (STL, Eq. 1)
    cfg.MODEL.REID.CENTER_WEIGHT = 0.0005
