"""RoI heads of SeqNet (Li and Miao, AAAI 2021): detect first, then search.

Shape shorthand in this module:
    R: number of boxes, summed over the images
"""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from ..embedders.roi import with_float_boxes
from .norm_aware import NormAwareOutputLayers
from .shared_heads import NormAwareROIHeads


@ROI_HEADS_REGISTRY.register()
class SeqNetROIHeads(NormAwareROIHeads):
    """A Faster R-CNN head, and NAE on the boxes that it refined.

    At test the first stage's detections go into the second one, which refines them once more; they
    keep the scores of the first stage (the paper's first classification score).

    Args:
        first: the first stage: boxes alone, with ``train_on_pred_boxes``.
        kwargs: of :class:`.NormAwareROIHeads`, for the second stage.
    """

    @configurable
    def __init__(self, *, first: StandardROIHeads, **kwargs):
        super().__init__(**kwargs)
        self.first = first

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        first = StandardROIHeads(cfg, input_shape, train_on_pred_boxes=True)
        first.box_pooler = with_float_boxes(first.box_pooler)
        return {**super().from_config(cfg, input_shape), "first": first}

    @classmethod
    def make_box_predictor(cls, cfg, input_shape: ShapeSpec) -> nn.Module:
        """See :meth:`.SharedROIHeads.make_box_predictor`."""
        keys = cfg.MODEL.SECOND_STAGE
        return NormAwareOutputLayers(
            cfg,
            input_shape,
            loss_weight={"loss_box_reg": keys.BBOX_REG_LOSS_WEIGHT},
            test_nms_thresh=keys.NMS_THRESH_TEST,
        )

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See ``ROIHeads.forward``; the losses of the first stage end in ``_first``."""
        if not self.training:
            return super().forward(images, features, proposals)
        with get_event_storage().name_scope("first"):
            refined, losses = self.first(images, features, proposals, targets)
        proposals, second = super().forward(images, features, _as_proposals(refined), targets)
        return proposals, {f"{name}_first": loss for name, loss in losses.items()} | second

    def detect(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        """See :meth:`.SharedROIHeads.detect`."""
        found, _ = self.first(None, features, proposals)
        boxes = [x.pred_boxes for x in found]
        _, embeddings, predictions = self.run(features, boxes)
        proposals = [
            Instances(x.image_size, proposal_boxes=b) for x, b in zip(found, boxes, strict=True)
        ]
        predictor = self.box_predictor
        refined, kept = fast_rcnn_inference(
            predictor.predict_boxes(predictions, proposals),
            [torch.stack([x.scores, 1 - x.scores], dim=1) for x in found],
            [x.image_size for x in found],
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )
        return self.with_incoming_embeddings(refined, kept, embeddings, boxes)


def _as_proposals(refined: list[Instances]) -> list[Instances]:
    """Boxes of the first stage, within the image and not empty, with no label of that stage."""
    proposals = []
    for x in refined:
        boxes = Boxes(x.proposal_boxes.tensor.detach())
        boxes.clip(x.image_size)
        logits = x.objectness_logits  # not used here, but detectron2 asks for it
        bare = Instances(x.image_size, proposal_boxes=boxes, objectness_logits=logits)
        proposals.append(bare[boxes.nonempty()])
    return proposals


def add_seqnet_config(cfg: CN) -> None:
    """Keys of the second stage of SeqNet.

    Those of the first one are ``MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT`` and
    ``MODEL.ROI_HEADS.NMS_THRESH_TEST``.
    """
    cfg.MODEL.SECOND_STAGE = CN()
    cfg.MODEL.SECOND_STAGE.BBOX_REG_LOSS_WEIGHT = 1.0
    cfg.MODEL.SECOND_STAGE.NMS_THRESH_TEST = 0.5
