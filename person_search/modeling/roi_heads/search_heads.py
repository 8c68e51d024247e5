"""RoI heads of person search: a box head and, beside it, the re-ID branch."""

from detectron2.config import configurable
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.structures import ImageList, Instances
from torch import Tensor

from ..reid import ReIDBranch, ReIDSampler, with_float_boxes
from .embedding import EmbedsBoxes


@ROI_HEADS_REGISTRY.register()
class SearchROIHeads(EmbedsBoxes, StandardROIHeads):
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
        ret["box_pooler"] = with_float_boxes(ret["box_pooler"])
        ret["reid"] = ReIDBranch(cfg, input_shape)
        ret["reid_sampler"] = ReIDSampler(
            rois=cfg.MODEL.REID.ROIS,
            num_jitter=cfg.MODEL.REID.NUM_JITTER,
            jitter_iou=cfg.MODEL.REID.JITTER_IOU,
            uses_unlabeled=ret["reid"].head.uses_unlabeled,
            move_corners=cfg.MODEL.REID.MOVE_CORNERS,
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
        rois = self.reid_sampler(proposals, targets)
        embeddings, reid_losses = self.reid.learn(
            features, [x.proposal_boxes for x in rois], [x.gt_person_ids for x in rois]
        )
        return self.with_embeddings(rois, embeddings), losses | reid_losses

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add ``pred_embeds`` (R, D) to instances that have ``pred_boxes``."""
        return self.add_embeds(features, super().forward_with_given_boxes(features, instances))
