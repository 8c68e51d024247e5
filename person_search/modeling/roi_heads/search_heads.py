"""RoI heads of person search: a box head and, beside it, the embedder."""

import torch
from detectron2.config import configurable
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.structures import Instances
from torch import Tensor

from ..embedders.base import Embedder
from ..embedders.roi import with_float_boxes
from ..embedders.sampling import ReIDSampler
from .base import EmbeddingROIHeads, with_rows


@ROI_HEADS_REGISTRY.register()
class SearchROIHeads(EmbeddingROIHeads, StandardROIHeads):
    """detectron2's standard box head plus an :class:`Embedder` (STL, section 3).

    Args:
        reid: the embedder.
        reid_sampler: chooses the RoIs that train it.
        kwargs: of ``StandardROIHeads``.
    """

    @configurable
    def __init__(self, *, reid: Embedder, reid_sampler: ReIDSampler, **kwargs):
        super().__init__(**kwargs)
        self.reid, self.reid_sampler = reid, reid_sampler

    @classmethod
    def from_config(cls, cfg, input_shape) -> dict:
        ret = super().from_config(cfg, input_shape)
        ret["box_pooler"] = with_float_boxes(ret["box_pooler"])
        ret["reid"] = Embedder(cfg, input_shape)
        ret["reid_sampler"] = ReIDSampler(
            rois=cfg.MODEL.REID.ROIS,
            uses_unlabeled=ret["reid"].head.uses_unlabeled,
        )
        return ret

    def detect(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        """See :meth:`.EmbeddingROIHeads.detect`."""
        return self._forward_box(features, proposals)

    def forward_training(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See :meth:`.EmbeddingROIHeads.forward_training`."""
        losses = self._forward_box(features, proposals)
        rois = self.reid_sampler(proposals, targets)
        maps = self.reid.maps(features, [x.proposal_boxes for x in rois])
        embeddings = self.reid.head(maps)
        person_ids = torch.cat([x.gt_person_ids for x in rois])
        losses |= self.reid.head.losses(maps, embeddings, person_ids)
        return with_rows(rois, embeddings=embeddings), losses
