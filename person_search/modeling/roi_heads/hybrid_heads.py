"""RoI heads of hybrid pre-training (Tian et al., AAAI 2024).

Shape shorthand in this module:
    P: number of persons of an image; C, h, w: pooled feature; C': channels of res5
    D: embedding size
"""

import torch
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.structures import Boxes, Instances
from torch import Tensor

from .base import with_rows
from .shared_heads import NormAwareROIHeads


@ROI_HEADS_REGISTRY.register()
class HybridROIHeads(NormAwareROIHeads):
    """NAE that in training also says what it makes of the annotated persons.

    They go through the embedder together with the sampled proposals, so that batch norm sees all of
    them alike, and take no part in the losses. Arguments and state are those of
    :class:`NormAwareROIHeads`.
    """

    def forward_training(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Losses as :class:`NormAwareROIHeads`; the instances are the targets and have

        * ``maps`` (P, C, h, w): the pooled features of the base,
        * ``vectors`` (P, C'): what boxes are predicted from,
        * ``embeddings`` (P, D), not of unit length.
        """
        boxes, is_sampled = [], []
        for x, target in zip(proposals, targets, strict=True):
            boxes.append(Boxes.cat([x.proposal_boxes, target.gt_boxes]))
            is_sampled += [True] * len(x) + [False] * len(target)
        maps, embeddings, predictions = self.run(features, boxes)
        is_sampled = torch.tensor(is_sampled, dtype=torch.bool, device=embeddings.device)
        is_person = ~is_sampled

        scores, deltas = (x[is_sampled] for x in predictions)
        # A NormAwareHead does not read the maps, which are large to copy.
        losses = self.losses({}, embeddings[is_sampled], (scores, deltas), proposals)
        persons = with_rows(
            [Instances(x.image_size, **x.get_fields()) for x in targets],
            maps=maps[self.reid.split_at][is_person],
            vectors=self.pool(maps["res5"][is_person]),
            embeddings=embeddings[is_person],
        )
        return persons, losses
