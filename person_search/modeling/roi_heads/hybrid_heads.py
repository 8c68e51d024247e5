"""RoI heads of hybrid pre-training (Tian et al., AAAI 2024).

Shape shorthand in this module:
    R: number of RoIs, summed over the images; P: number of persons of an image
"""

import torch
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from .shared_heads import NormAwareROIHeads


@ROI_HEADS_REGISTRY.register()
class HybridROIHeads(NormAwareROIHeads):
    """NAE that in training also says what it makes of the annotated persons.

    They go through the branch together with the sampled proposals, so that batch norm sees all of
    them alike, and take no part in the losses. Arguments and state are those of
    :class:`NormAwareROIHeads`.
    """

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See ``ROIHeads.forward``; in training the instances are the targets and have

        * ``maps`` (P, C, h, w): the pooled features of the base,
        * ``vectors`` (P, C'): what boxes are predicted from,
        * ``embeddings`` (P, D), not of unit length.
        """
        if not self.training:
            return super().forward(images, features, proposals, targets)
        proposals = self.label_and_sample_proposals(proposals, targets)
        boxes = [
            Boxes.cat([x.proposal_boxes, target.gt_boxes])
            for x, target in zip(proposals, targets, strict=True)
        ]
        maps, embeddings, predictions = self._run(features, boxes)
        numbers = [n for pair in zip(proposals, targets, strict=True) for n in map(len, pair)]
        is_sampled = torch.tensor([True, False] * len(proposals), device=embeddings.device)
        is_sampled = is_sampled.repeat_interleave(torch.tensor(numbers, device=embeddings.device))

        scores, deltas = (x[is_sampled] for x in predictions)
        losses = self.box_predictor.losses((scores, deltas), proposals)
        person_ids = torch.cat([x.gt_person_ids for x in proposals])
        # A NormAwareHead does not read the maps, which are large to copy.
        losses |= self.reid.head.losses({}, embeddings[is_sampled], person_ids)

        of_persons = {
            "maps": maps[self.reid.split_at][~is_sampled],
            "vectors": self.pool(maps["res5"][~is_sampled]),
            "embeddings": embeddings[~is_sampled],
        }
        persons = [Instances(x.image_size, **x.get_fields()) for x in targets]
        for name, rows in of_persons.items():
            parts = rows.split([len(x) for x in persons])
            for person, part in zip(persons, parts, strict=True):
                person.set(name, part)
        return persons, losses
