"""What RoI heads of person search have in common: one forward, and one way to embed a box."""

from abc import ABC, abstractmethod

import torch
from detectron2.modeling.roi_heads import ROIHeads
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from person_search.labels import BACKGROUND

from ..embedders.base import Embedder
from ..identity.base import require_person_ids


class EmbeddingROIHeads(ROIHeads, ABC):
    """Detects persons and embeds them. Works in the stock ``GeneralizedRCNN``.

    Training targets need a field ``gt_person_ids`` (int64: an id >= 0, or UNLABELED). In training
    the result is the RoIs that trained the embedder, with ``gt_person_ids``, all other ``gt_``
    fields of the targets where persons are, and ``embeddings`` (not of unit length), so that a meta
    architecture can learn more from them. At test it is detections with ``pred_embeds`` (unit
    length). A detection is embedded once its box is final, exactly as a query box is.

    Attributes:
        reid: the embedder.
    """

    reid: Embedder

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
        return self.forward_training(features, proposals, targets)

    @abstractmethod
    def detect(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        """Instances with ``pred_boxes``, ``scores`` and ``pred_classes``, from proposals."""

    @abstractmethod
    def forward_training(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """RoIs as the class describes them, and losses, with the same names at every call.

        Args:
            features: maps of the base.
            proposals: labeled and sampled.
            targets: the annotations, which may be embedded in the same pass.
        """

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """As in ``ROIHeads``; moreover ``gt_person_ids`` is BACKGROUND where no person is.

        detectron2 gives a background proposal the fields of an arbitrary annotation, and proposals
        of an image without annotations no such field at all.

        Raises:
            ConfigError: the targets lack ``gt_person_ids``.
        """
        require_person_ids(targets, type(self).__name__)
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
        boxes = [x.pred_boxes for x in instances]
        for found, embeds in zip(instances, self.embed(features, boxes), strict=True):
            found.pred_embeds = embeds
        return instances

    def embed(self, features: dict[str, Tensor], boxes: list[Boxes]) -> list[Tensor]:
        """Unit embeddings of any boxes, per image: detections, queries and annotations alike."""
        return list(self.reid.embed(features, boxes).split([len(b) for b in boxes]))


def with_rows(instances: list[Instances], **rows: Tensor) -> list[Instances]:
    """The instances, each with its part of (R, ...) rows of all of them as new fields."""
    numbers = [len(x) for x in instances]
    for name, of_all in rows.items():
        for x, own in zip(instances, of_all.split(numbers), strict=True):
            x.set(name, own)
    return instances
