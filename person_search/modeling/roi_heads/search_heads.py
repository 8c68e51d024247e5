"""RoI heads of person search: a box head and, beside it, the re-ID branch."""

import torch
from detectron2.config import configurable
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from person_search.labels import BACKGROUND

from ..reid import ReIDBranch, ReIDSampler


@ROI_HEADS_REGISTRY.register()
class SearchROIHeads(StandardROIHeads):
    """detectron2's standard box head plus a :class:`ReIDBranch` (STL, section 3).

    Works in the stock ``GeneralizedRCNN``. Training targets need a field ``gt_person_ids``
    (int64: an id >= 0, or UNLABELED); predictions carry ``pred_embeds`` (unit length).

    Args:
        reid: the branch.
        reid_sampler: chooses its RoIs in training.
        kwargs: of ``StandardROIHeads``.
    """

    @configurable
    def __init__(self, *, reid: ReIDBranch, reid_sampler: ReIDSampler, **kwargs):
        super().__init__(**kwargs)
        self.reid, self.reid_sampler = reid, reid_sampler

    @classmethod
    def from_config(cls, cfg, input_shape) -> dict:
        ret = super().from_config(cfg, input_shape)
        ret["reid"] = ReIDBranch(cfg, input_shape)
        ret["reid_sampler"] = ReIDSampler(
            rois=cfg.MODEL.REID.ROIS,
            num_jitter=cfg.MODEL.REID.NUM_JITTER,
            jitter_iou=cfg.MODEL.REID.JITTER_IOU,
            uses_unlabeled=ret["reid"].head.uses_unlabeled,
        )
        return ret

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See ``ROIHeads.forward``."""
        if not self.training:
            return super().forward(images, features, proposals, targets)
        proposals = self.label_and_sample_proposals(proposals, targets)
        losses = self._forward_box(features, proposals)
        boxes, person_ids = self.reid_sampler(proposals, targets)
        losses.update(self.reid.losses(features, boxes, person_ids))
        return proposals, losses

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """As in ``ROIHeads``; moreover ``gt_person_ids`` is BACKGROUND where no person is.

        detectron2 gives a background proposal the fields of an arbitrary annotation, and proposals
        of an image without annotations no such field at all.
        """
        proposals = super().label_and_sample_proposals(proposals, targets)
        for sampled in proposals:
            background = sampled.gt_classes == self.num_classes
            if not sampled.has("gt_person_ids"):
                sampled.gt_person_ids = torch.full_like(sampled.gt_classes, BACKGROUND)
            sampled.gt_person_ids = sampled.gt_person_ids.masked_fill(background, BACKGROUND)
        return proposals

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add ``pred_embeds`` (R, D) to instances that have ``pred_boxes``."""
        instances = super().forward_with_given_boxes(features, instances)
        boxes = [x.pred_boxes for x in instances]
        for found, embeds in zip(instances, self.embed(features, boxes), strict=True):
            found.pred_embeds = embeds
        return instances

    def embed(self, features: dict[str, Tensor], boxes: list[Boxes]) -> list[Tensor]:
        """Unit embeddings of any boxes, per image: detections, queries and annotations alike."""
        return list(self.reid.embed(features, boxes).split([len(b) for b in boxes]))
