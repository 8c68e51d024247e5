"""RoI heads of hybrid pre-training (Tian et al., AAAI 2024).

Shape shorthand in this module:
    R: number of sampled proposals, summed over the images; P: number of persons of an image
    C, h, w: pooled feature; C': channels of res5; D: embedding size
"""

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.structures import Boxes, Instances
from torch import Tensor

from .base import with_rows
from .shared_heads import NormAwareROIHeads


@ROI_HEADS_REGISTRY.register()
class HybridROIHeads(NormAwareROIHeads):
    """NAE that in training also says what it makes of the annotated persons.

    They go through the embedder together with the sampled proposals, so that batch norm sees all of
    them alike, and take no part in the losses but as ``individuals``. State is that of
    :class:`NormAwareROIHeads`.

    Args:
        individuals: whether in the loss of identities a person without one is an identity of its
            own, as the paper has it: each of its proposals is to be recognized as the person in the
            other view of the image. Else such persons are negatives alone, from the queue.
        kwargs: of :class:`NormAwareROIHeads`.
    """

    @configurable
    def __init__(self, *, individuals: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.individuals = individuals

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        return {
            **super().from_config(cfg, input_shape),
            "individuals": cfg.MODEL.HYBRID.INDIVIDUALS,
        }

    def forward_training(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Losses as :class:`NormAwareROIHeads`; the instances are the targets and have

        * ``maps`` (P, C, h, w): the pooled features of the base,
        * ``vectors`` (P, C'): what boxes are predicted from,
        * ``embeddings`` (P, D), not of unit length.

        The second half of the images is another view of the first half, in the same order; targets
        have ``gt_index``, the same for one person in both views, or -1.
        """
        boxes, is_sampled = [], []
        for x, target in zip(proposals, targets, strict=True):
            boxes.append(Boxes.cat([x.proposal_boxes, target.gt_boxes]))
            is_sampled += [True] * len(x) + [False] * len(target)
        maps, embeddings, predictions = self.run(features, boxes)
        is_sampled = torch.tensor(is_sampled, dtype=torch.bool, device=embeddings.device)
        is_person = ~is_sampled

        persons = with_rows(
            [Instances(x.image_size, **x.get_fields()) for x in targets],
            maps=maps[self.reid.split_at][is_person],
            vectors=self.pool(maps["res5"][is_person]),
            embeddings=embeddings[is_person],
        )
        scores, deltas = (x[is_sampled] for x in predictions)
        losses = self.losses(
            {},  # a NormAwareHead does not read the maps, which are large to copy
            embeddings[is_sampled],
            (scores, deltas),
            proposals,
            positives=other_views(proposals, persons) if self.individuals else None,
        )
        return persons, losses


def other_views(proposals: list[Instances], persons: list[Instances]) -> Tensor:
    """Of each proposal the unit embedding (R, D) of its person in the other view of the image.

    Zeros where that view does not show the person. For example with persons 5 and 7 in the first
    view, 7 and 8 in the second, proposals of person 7 get the first row of the second view and the
    second one of the first, and those of 5 and 8 get zeros.

    Args:
        proposals: of each view, with ``gt_index`` if there are persons in it.
        persons: of each view, with ``gt_index`` and ``embeddings``.
    """
    rows, half = [], len(persons) // 2
    for view, x in enumerate(proposals):
        other = persons[view - half]  # also of the first ones, counted from the end
        embeddings = F.normalize(other.embeddings.detach().float())
        found = embeddings.new_zeros(len(x), embeddings.shape[1])
        if x.has("gt_index"):
            same = x.gt_index[:, None] == other.gt_index
            of_proposal, of_person = (same & (other.gt_index >= 0)).nonzero(as_tuple=True)
            found[of_proposal] = embeddings[of_person]
        rows.append(found)
    return torch.cat(rows)
