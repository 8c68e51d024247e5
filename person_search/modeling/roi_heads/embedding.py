"""What RoI heads with a re-ID branch have in common."""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from person_search.labels import BACKGROUND

from ..reid import ReIDBranch


class EmbedsBoxes:
    """Mixed into detectron2's ``ROIHeads``: labels with person ids, and the one embedding path.

    In training they return the RoIs that trained the branch, with ``gt_person_ids``, all other
    ``gt_`` fields of the targets where persons are, and :meth:`with_embeddings`; so a meta
    architecture can learn more from them.

    Attributes:
        reid: the branch.
    """

    reid: ReIDBranch

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

    @staticmethod
    def with_embeddings(rois: list[Instances], embeddings: Tensor) -> list[Instances]:
        """Add ``embeddings``, (R, D) over all images, not normalized, to the RoIs."""
        for x, rows in zip(rois, embeddings.split([len(x) for x in rois]), strict=True):
            x.embeddings = rows
        return rois

    def add_embeds(
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
