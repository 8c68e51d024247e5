"""RoI heads whose boxes and embeddings come from the same RoI features: OIM and NAE.

Shape shorthand in this module:
    R: number of RoIs, summed over the images; C: channels of res5; D: embedding size
"""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.pooling import GlobalPool

from ..embedders.base import Embedder
from ..identity.base import pooling_kind
from ..identity.oim import NormAwareHead
from .base import EmbeddingROIHeads, with_rows
from .norm_aware import NormAwareOutputLayers

# Of FastRCNNOutputLayers: (R, 2) scores of person and background, and (R, 4) deltas.
Predictions = tuple[Tensor, Tensor]


@ROI_HEADS_REGISTRY.register()
class SharedROIHeads(EmbeddingROIHeads):
    """The embedder also scores and refines boxes (OIM, Xiao et al., CVPR 2017).

    Each sampled proposal trains detection and, if it is a person, identification. At test a box is
    embedded once it is final, like a query box, or keeps the embedding of the box that it was
    refined from, as in the published code.

    Args:
        reid: the embedder.
        pool: what ``box_predictor`` sees of the embedder's last maps.
        box_predictor: as detectron2's ``FastRCNNOutputLayers``.
        embed_refined: which of the two.
        kwargs: of ``ROIHeads``.
    """

    @configurable
    def __init__(
        self,
        *,
        reid: Embedder,
        pool: GlobalPool,
        box_predictor: nn.Module,
        embed_refined: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.reid, self.pool, self.box_predictor = reid, pool, box_predictor
        self.embed_refined = embed_refined

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        reid = Embedder(cfg, input_shape)
        shape = ShapeSpec(channels=reid.head.in_channels["res5"], height=1, width=1)
        return {
            **super().from_config(cfg),
            "reid": reid,
            "pool": GlobalPool(pooling_kind(cfg)),
            "box_predictor": cls.make_box_predictor(cfg, shape),
            "embed_refined": cfg.MODEL.REID.EMBED_REFINED_BOXES,
        }

    @classmethod
    def make_box_predictor(cls, cfg, input_shape: ShapeSpec) -> nn.Module:
        """What :meth:`predict` uses."""
        return FastRCNNOutputLayers(cfg, input_shape)

    def predict(self, maps: dict[str, Tensor], embeddings: Tensor) -> Predictions:
        """Scores and deltas of RoIs, of which the embedder made maps and (R, D) embeddings."""
        return self.box_predictor(self.pool(maps["res5"]))

    def detect(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        """See :meth:`.EmbeddingROIHeads.detect`."""
        boxes = [x.proposal_boxes for x in proposals]
        _, embeddings, predictions = self.run(features, boxes)
        found, kept = self.box_predictor.inference(predictions, proposals)
        return self.with_incoming_embeddings(found, kept, embeddings, boxes)

    def with_incoming_embeddings(
        self, found: list[Instances], kept: list[Tensor], embeddings: Tensor, boxes: list[Boxes]
    ) -> list[Instances]:
        """Detections, with ``pred_embeds`` unless they are to be embedded once more.

        Args:
            found: the detections.
            kept: of each, the box that it was refined from, as an index into those of its image.
            embeddings: (R, D) of the boxes.
            boxes: that were refined.
        """
        if not self.embed_refined:
            rows = F.normalize(embeddings.float()).split([len(b) for b in boxes])
            for x, index, of_image in zip(found, kept, rows, strict=True):
                x.pred_embeds = of_image[index]
        return found

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """See :meth:`.EmbeddingROIHeads.forward_with_given_boxes`."""
        if all(x.has("pred_embeds") for x in instances):
            return instances
        return super().forward_with_given_boxes(features, instances)

    def forward_training(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See :meth:`.EmbeddingROIHeads.forward_training`."""
        maps, embeddings, predictions = self.run(features, [x.proposal_boxes for x in proposals])
        losses = self.losses(maps, embeddings, predictions, proposals)
        return with_rows(proposals, embeddings=embeddings), losses

    def run(
        self, features: dict[str, Tensor], boxes: list[Boxes]
    ) -> tuple[dict[str, Tensor], Tensor, Predictions]:
        """Maps, embeddings (R, D) and predictions of boxes."""
        maps = self.reid.maps(features, boxes)
        embeddings = self.reid.head(maps)
        return maps, embeddings, self.predict(maps, embeddings)

    def losses(
        self,
        maps: dict[str, Tensor],
        embeddings: Tensor,
        predictions: Predictions,
        proposals: list[Instances],
        **of_identity: Tensor | None,
    ) -> dict[str, Tensor]:
        """Losses of detection and of identification of labeled proposals, from :meth:`run`.

        ``of_identity`` is handed on to the identity head.
        """
        person_ids = torch.cat([x.gt_person_ids for x in proposals])
        return {
            **self.box_predictor.losses(predictions, proposals),
            **self.reid.head.losses(maps, embeddings, person_ids, **of_identity),
        }


@ROI_HEADS_REGISTRY.register()
class NormAwareROIHeads(SharedROIHeads):
    """Norm-aware embedding (NAE, Chen et al., CVPR 2020): its norm says whether it is a person.

    The embedder needs a :class:`.NormAwareHead`; arguments are those of :class:`SharedROIHeads`.
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


def add_shared_heads_config(cfg: CN) -> None:
    """Keys of RoI heads whose boxes and embeddings come from the same RoI features."""
    # Embed a detection once its box is final, as a query is. False: keep the embedding of the box
    # that it was refined from, as the published code does.
    cfg.MODEL.REID.EMBED_REFINED_BOXES = True
