"""Interaction of scenes and crops, in the style of BINet (Dong et al., CVPR 2020)."""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes
from detectron2.utils.events import get_event_storage
from torch import Tensor

from person_search.layers.batch_norm import FrozenRunningStats
from person_search.layers.crops import cut_crops
from person_search.layers.interaction import feature_interaction, prediction_interaction

from ..identity.oim import OIMHead
from .scenes_and_crops import ScenesAndCrops


@META_ARCH_REGISTRY.register()
class BINetStyle(ScenesAndCrops):
    """Crops go through the same weights as scenes, and each RoI has to agree with its crop.

    A re-implementation from the abstract. A crop is a scene with one box, that of the whole crop;
    it has a loss of its own, ``loss_oim_crops``. Table and queue learn from the RoIs first, then
    from the crops. Running statistics of batch norms stay those of scenes, which is what a test
    sees.

    Args:
        feature_weight: factor of ``loss_feature_interaction``, between embeddings.
        prediction_weight: factor of ``loss_prediction_interaction``, between the softmaxes over
            table and queue once these have learned from both.
        kwargs: of :class:`.ScenesAndCrops`.
    """

    head_class = OIMHead

    @configurable
    def __init__(self, *, feature_weight: float = 1.0, prediction_weight: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.feature_weight, self.prediction_weight = feature_weight, prediction_weight

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {**super().from_config(cfg), "feature_weight": cfg.MODEL.BINET.FEATURE_WEIGHT}

    def crop_losses(
        self, images: Tensor, boxes: list[Tensor], ids: Tensor, rois: Tensor, crops: Tensor
    ) -> dict[str, Tensor]:
        """See :meth:`.ScenesAndCrops.crop_losses`."""
        cut_out = cut_crops(images, boxes, self.crop_size)
        with FrozenRunningStats(self), get_event_storage().name_scope("crops"):
            embeddings, losses = self._rows_and_losses(cut_out, ids)
        of_rois, of_crops = F.normalize(rois.float()), F.normalize(embeddings[crops].float())
        logits = self.roi_heads.reid.head.oim.logits
        feature = feature_interaction(of_rois, of_crops)
        prediction = prediction_interaction(logits(of_rois), logits(of_crops))
        return {
            **{f"{name}_crops": loss for name, loss in losses.items()},
            "loss_feature_interaction": self.feature_weight * feature,
            "loss_prediction_interaction": self.prediction_weight * prediction,
        }

    def _rows_and_losses(self, crops: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Rows (P, D), not of unit length, of normalized crops (P, 3, H, W), and their losses."""
        reid = self.roi_heads.reid
        if len(crops):
            height, width = self.crop_size
            whole = torch.tensor([[0.0, 0.0, width, height]], device=crops.device)
            maps = reid.maps(self.backbone(crops), [Boxes(whole)] * len(crops))
        else:  # other ranks may have crops, whose ids the table gathers
            maps = reid.nobody()
        rows = reid.head(maps)
        return rows, reid.head.losses(maps, rows, ids)


def add_binet_config(cfg: CN) -> None:
    """Keys of BINetStyle, whose values no description tells."""
    cfg.MODEL.BINET = CN()
    # Weight of the interaction of a RoI's embedding with that of its person's crop
    cfg.MODEL.BINET.FEATURE_WEIGHT = 1.0
