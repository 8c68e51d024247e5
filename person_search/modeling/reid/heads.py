"""Heads of the re-ID branch: from the map of the identification net to an embedding and a loss.

Shape shorthand in this module:
    R: number of RoIs; C, h, w: map of the identification net; D: embedding size; L: identities
"""

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import get_event_storage
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from person_search.registry import look_up

REID_HEAD_REGISTRY = Registry("REID_HEAD")
REID_HEAD_REGISTRY.__doc__ = """
Heads of the re-ID branch. The registered class is called with ``(cfg, in_channels)``. It has

* ``forward(maps (R, C, h, w)) -> embeddings (R, D)``, not yet of unit length,
* ``losses(embeddings (R, D), person_ids (R,)) -> dict`` with the same keys at every call,
* ``embedding_dim``: D,
* ``uses_unlabeled``: whether persons without identity take part in its losses,
* ``training_only``: prefixes of its parameters that a model at test can do without.
"""


def count_train_ids(cfg) -> int:
    """Number of identities that a classifier has to tell apart.

    ``MODEL.REID.NUM_IDS`` if it is not -1, else the sum of the metadata's ``num_person_ids`` over
    ``DATASETS.TRAIN``, whose data sets are read for it if they have not been yet.
    """
    if cfg.MODEL.REID.NUM_IDS >= 0:
        return cfg.MODEL.REID.NUM_IDS
    for name in cfg.DATASETS.TRAIN:
        DatasetCatalog.get(name)
    return sum(MetadataCatalog.get(name).num_person_ids for name in cfg.DATASETS.TRAIN)


@REID_HEAD_REGISTRY.register()
class SoftmaxHead(nn.Module):
    """Global average pooling, BN neck, and one class per identity (STL, sections 3.1 and 3.3).

    The BN's output is the embedding. Its shift stays 0, so that the classifier without bias and
    the cosine of the test agree (Luo et al., "Bag of Tricks", 2019).

    Args:
        in_channels: C = D.
        num_ids: L; 0 for a model that is never trained.
        loss_weight: factor of ``loss_id``.
    """

    uses_unlabeled = False
    training_only = ("classifier.",)

    @configurable
    def __init__(self, *, in_channels: int, num_ids: int, loss_weight: float = 1.0):
        super().__init__()
        self.embedding_dim = in_channels
        self.bn = nn.BatchNorm1d(in_channels)
        self.bn.bias.requires_grad_(False)
        self.classifier = nn.Linear(in_channels, num_ids, bias=False)
        if num_ids:
            nn.init.normal_(self.classifier.weight, std=0.001)
        self.loss_weight = loss_weight

    @classmethod
    def from_config(cls, cfg, in_channels: int) -> dict:
        return {
            "in_channels": in_channels,
            "num_ids": count_train_ids(cfg),
            "loss_weight": cfg.MODEL.REID.LOSS_WEIGHT,
        }

    def forward(self, maps: Tensor) -> Tensor:
        """(R, C, h, w) maps to (R, C) embeddings.

        In training a single RoI has no batch statistics; it is normalised with the running ones.
        """
        pooled = maps.mean(dim=(2, 3))
        if self.training and len(pooled) < 2:
            return F.batch_norm(
                pooled,
                self.bn.running_mean,
                self.bn.running_var,
                self.bn.weight,
                self.bn.bias,
                eps=self.bn.eps,
            )
        return self.bn(pooled)

    def losses(self, embeddings: Tensor, person_ids: Tensor) -> dict[str, Tensor]:
        """Mean cross entropy over the labelled RoIs (STL, Eq. 3); 0 where there is none.

        Args:
            embeddings: (R, D).
            person_ids: (R,) int64; only ids >= 0 take part.
        """
        labeled = person_ids >= 0
        logits = self.classifier(embeddings[labeled])
        targets = person_ids[labeled]
        storage = get_event_storage()
        storage.put_scalar("reid/num_labeled", len(targets))
        if len(targets) == 0:
            return {"loss_id": logits.sum() * 0.0 + embeddings.sum() * 0.0}
        with torch.no_grad():
            accuracy = (logits.argmax(dim=1) == targets).float().mean()
        storage.put_scalar("reid/id_accuracy", accuracy.item())
        return {"loss_id": self.loss_weight * F.cross_entropy(logits, targets)}


def build_reid_head(cfg, in_channels: int) -> nn.Module:
    """The head that ``MODEL.REID.HEAD`` names."""
    return look_up(REID_HEAD_REGISTRY, cfg.MODEL.REID.HEAD, "MODEL.REID.HEAD")(cfg, in_channels)
