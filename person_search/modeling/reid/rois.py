"""Which boxes train the re-ID branch (``MODEL.REID.ROIS``)."""

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from person_search.errors import ConfigError
from person_search.labels import UNLABELED


class ReIDSampler:
    """Chooses the RoIs of the re-ID branch from sampled proposals and annotations.

    Args:
        rois: "gt": ground-truth boxes. "gt_jitter": those, and up to ``num_jitter`` sampled
            proposals of each with IoU >= ``jitter_iou``, because the test meets detections.
            "fg": every sampled foreground proposal.
        num_jitter, jitter_iou: see "gt_jitter".
        uses_unlabeled: whether persons without identity are chosen too.
    """

    MODES = ("gt", "gt_jitter", "fg")

    def __init__(
        self,
        rois: str = "gt_jitter",
        num_jitter: int = 2,
        jitter_iou: float = 0.7,
        uses_unlabeled: bool = False,
    ):
        if rois not in self.MODES:
            raise ConfigError(f"MODEL.REID.ROIS is {rois!r}; legal: {', '.join(self.MODES)}")
        self.rois, self.num_jitter, self.jitter_iou = rois, num_jitter, jitter_iou
        self.uses_unlabeled = uses_unlabeled

    @torch.no_grad()
    def __call__(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> tuple[list[Boxes], list[Tensor]]:
        """Boxes and person ids per image.

        Args:
            proposals: sampled, with ``proposal_boxes`` and ``gt_person_ids``.
            targets: with ``gt_boxes`` and ``gt_person_ids``.
        """
        boxes, ids = [], []
        for sampled, target in zip(proposals, targets, strict=True):
            if self.rois == "fg":
                b, i = sampled.proposal_boxes.tensor, sampled.gt_person_ids
            else:
                b, i = target.gt_boxes.tensor, target.gt_person_ids
            if self.rois == "gt_jitter" and len(b):
                extra, owner = self._jittered(sampled.proposal_boxes, target.gt_boxes)
                b, i = torch.cat([b, extra]), torch.cat([i, i[owner]])
            keep = i >= (UNLABELED if self.uses_unlabeled else 0)
            b, i = b[keep], i[keep]
            boxes.append(Boxes(b))
            ids.append(i)
        return boxes, ids

    def _jittered(self, proposals: Boxes, gt: Boxes) -> tuple[Tensor, Tensor]:
        """Up to ``num_jitter`` random proposals per ground-truth box, and the index of that box."""
        if len(proposals) == 0:
            return gt.tensor.new_zeros(0, 4), torch.zeros(0, dtype=torch.int64)
        iou, owner = pairwise_iou(gt, proposals).max(dim=0)
        # IoU 1 is the ground-truth box itself, which the detector's sampler appended.
        order = torch.randperm(len(proposals), device=iou.device)
        order = order[((iou >= self.jitter_iou) & (iou < 1.0 - 1e-4))[order]]
        one_hot = owner[order, None] == torch.arange(len(gt), device=iou.device)
        rank_within_owner = one_hot.cumsum(dim=0).gather(1, owner[order, None])[:, 0]
        chosen = order[rank_within_owner <= self.num_jitter]
        return proposals.tensor[chosen].detach(), owner[chosen]
