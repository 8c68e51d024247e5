"""RoI heads whose boxes and embeddings come from the same RoI features: OIM and NAE.

Shape shorthand in this module:
    R: number of RoIs, summed over the images; C: channels of res5; D: embedding size
"""

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, FastRCNNOutputLayers, ROIHeads
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.pooling import GlobalPool

from ..reid import NormAwareHead, ReIDBranch
from .embedding import EmbedsBoxes
from .norm_aware import NormAwareOutputLayers

Predictions = tuple[Tensor, Tensor]
"""Of ``FastRCNNOutputLayers``: (R, 2) scores of person and background, (R, 4) deltas."""


@ROI_HEADS_REGISTRY.register()
class SharedROIHeads(EmbedsBoxes, ROIHeads):
    """The re-ID branch also scores and refines boxes (OIM, Xiao et al., CVPR 2017).

    Each sampled proposal trains detection and, if it is a person, identification. At test a box is
    embedded once it is final, like a query box (the published code keeps the embedding of the
    proposal that became it).

    Training targets need a field ``gt_person_ids`` (int64: an id >= 0, or UNLABELED); predictions
    carry ``pred_embeds`` (unit length).

    Args:
        reid: the branch.
        pool: what ``box_predictor`` sees of the branch's last maps.
        box_predictor: as detectron2's ``FastRCNNOutputLayers``.
        kwargs: of ``ROIHeads``.
    """

    @configurable
    def __init__(self, *, reid: ReIDBranch, pool: GlobalPool, box_predictor: nn.Module, **kwargs):
        super().__init__(**kwargs)
        self.reid, self.pool, self.box_predictor = reid, pool, box_predictor

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        reid = ReIDBranch(cfg, input_shape)
        shape = ShapeSpec(channels=reid.head.in_channels["res5"], height=1, width=1)
        return {
            **super().from_config(cfg),
            "reid": reid,
            "pool": GlobalPool(cfg.MODEL.REID.GLOBAL_POOLING),
            "box_predictor": cls.make_box_predictor(cfg, shape),
        }

    @classmethod
    def make_box_predictor(cls, cfg, input_shape: ShapeSpec) -> nn.Module:
        """What :meth:`predict` uses."""
        return FastRCNNOutputLayers(cfg, input_shape)

    def predict(self, maps: dict[str, Tensor], embeddings: Tensor) -> Predictions:
        """Scores and deltas of RoIs, of which the branch made maps and (R, D) embeddings."""
        return self.box_predictor(self.pool(maps["res5"]))

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See ``ROIHeads.forward``."""
        if not self.training:
            return self.forward_with_given_boxes(features, self.detect(features, proposals)), {}
        proposals = self.label_and_sample_proposals(proposals, targets)
        maps, embeddings, predictions = self._run(features, [x.proposal_boxes for x in proposals])
        losses = self.box_predictor.losses(predictions, proposals)
        person_ids = torch.cat([x.gt_person_ids for x in proposals])
        losses |= self.reid.head.losses(maps, embeddings, person_ids)
        return self.with_embeddings(proposals, embeddings), losses

    def _run(
        self, features: dict[str, Tensor], boxes: list[Boxes]
    ) -> tuple[dict[str, Tensor], Tensor, Predictions]:
        maps = self.reid.maps(features, boxes)
        embeddings = self.reid.head(maps)
        return maps, embeddings, self.predict(maps, embeddings)

    def detect(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        """Instances with ``pred_boxes``, ``scores`` and ``pred_classes``, from proposals."""
        *_, predictions = self._run(features, [x.proposal_boxes for x in proposals])
        return self.box_predictor.inference(predictions, proposals)[0]

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add ``pred_embeds`` (R, D) to instances that have ``pred_boxes``."""
        return self.add_embeds(features, instances)


@ROI_HEADS_REGISTRY.register()
class NormAwareROIHeads(SharedROIHeads):
    """Norm-aware embedding (NAE, Chen et al., CVPR 2020): its norm says whether it is a person.

    The branch needs a :class:`.NormAwareHead`; arguments are those of :class:`SharedROIHeads`.
    """

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super().from_config(cfg, input_shape)
        if not isinstance(ret["reid"].head, NormAwareHead):
            raise ConfigError(
                f"MODEL.ROI_HEADS.NAME {cls.__name__} needs MODEL.REID.HEAD NormAwareHead, not "
                f"{cfg.MODEL.REID.HEAD}"
            )
        return ret

    @classmethod
    def make_box_predictor(cls, cfg, input_shape: ShapeSpec) -> nn.Module:
        """See :meth:`SharedROIHeads.make_box_predictor`."""
        return NormAwareOutputLayers(cfg, input_shape)

    def predict(self, maps: dict[str, Tensor], embeddings: Tensor) -> Predictions:
        """See :meth:`SharedROIHeads.predict`."""
        return self.box_predictor(self.pool(maps["res5"]), embeddings)
