"""Distillation from a re-ID net on crops, in the style of DKD (Zhang et al., AAAI 2021)."""

from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import get_event_storage
from torch import Tensor

from person_search.layers.crops import cut_crops, shifted
from person_search.layers.distillation import (
    identity_distillation,
    relation_distillation,
    triplet_distillation,
)

from ..identity.softmax import SoftmaxHead
from .reid_baseline import ReIDBaseline
from .scenes_and_crops import ScenesAndCrops


@META_ARCH_REGISTRY.register()
class DKDStyle(ScenesAndCrops):
    """A teacher, trained alongside on crops, tells the embedder what it sees in them.

    A re-implementation from descriptions. The teacher learns from its identification loss alone
    (``loss_id_teacher``), the embedder also from the teacher: ``loss_distill_identity``,
    ``loss_distill_relation``, ``loss_distill_triplet``. A test does not need the teacher.

    Args:
        teacher: a whole re-ID net, with a classifier of the same identities as the embedder's.
        shift: crops are shifted at random by up to this share of their size.
        identity_weight, relation_weight, triplet_weight: factors of the three losses.
        identity_temperature, triplet_temperature: see :mod:`person_search.layers.distillation`.
        kwargs: of :class:`.ScenesAndCrops`.
    """

    head_class = SoftmaxHead
    training_only = ("teacher.",)

    @configurable
    def __init__(
        self,
        *,
        teacher: ReIDBaseline,
        shift: float = 0.1,
        identity_weight: float = 1.0,
        relation_weight: float = 1.0,
        triplet_weight: float = 1.0,
        identity_temperature: float = 1.0,
        triplet_temperature: float = 0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.teacher, self.shift = teacher, shift
        self.identity_weight, self.relation_weight = identity_weight, relation_weight
        self.triplet_weight = triplet_weight
        self.identity_temperature = identity_temperature
        self.triplet_temperature = triplet_temperature

    @classmethod
    def from_config(cls, cfg) -> dict:
        of_teacher = cfg.clone()
        of_teacher.defrost()
        of_teacher.MODEL.REID.POOLER = "WholeImage"
        of_teacher.MODEL.REID.IN_FEATURES = [cfg.MODEL.BACKBONE.SPLIT_AT]
        keys = cfg.MODEL.DKD
        return {
            **super().from_config(cfg),
            "teacher": ReIDBaseline(of_teacher),
            "shift": keys.SHIFT_CROPS,
            "identity_temperature": keys.IDENTITY_TEMPERATURE,
            "triplet_temperature": keys.TRIPLET_TEMPERATURE,
        }

    def crop_losses(
        self, images: Tensor, boxes: list[Tensor], ids: Tensor, rois: Tensor, crops: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`.ScenesAndCrops.crop_losses`."""
        boxes = [shifted(of_image, self.shift) for of_image in boxes]
        with get_event_storage().name_scope("teacher"):
            of_crops = cut_crops(images, boxes, self.crop_size)
            taught, losses = self.teacher.rows_and_losses(of_crops, ids)
        taught = taught.detach()
        identity = identity_distillation(
            self.roi_heads.reid.head.classifier(rois),
            self.teacher.reid.head.classifier(taught[crops]),
            self.identity_temperature,
        )
        relation = relation_distillation(rois, taught[crops])
        triplet = triplet_distillation(rois, taught, crops, ids, self.triplet_temperature)
        return {
            **{f"{name}_teacher": loss for name, loss in losses.items()},
            "loss_distill_identity": self.identity_weight * identity,
            "loss_distill_relation": self.relation_weight * relation,
            "loss_distill_triplet": self.triplet_weight * triplet,
        }


def add_dkd_config(cfg: CN) -> None:
    """Keys of DKDStyle, whose values no description tells."""
    cfg.MODEL.DKD = CN()
    # The teacher's crops are shifted at random by up to this share of their size: a random window
    # of the box enlarged to 1.2 of its size.
    cfg.MODEL.DKD.SHIFT_CROPS = 0.1
    # What is divided by them: the logits of identities, and the cosines of which the student picks
    # the crop of its person. 1: probabilities as they are.
    cfg.MODEL.DKD.IDENTITY_TEMPERATURE = 1.0
    cfg.MODEL.DKD.TRIPLET_TEMPERATURE = 0.1
