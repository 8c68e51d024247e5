"""Which boxes train the embedder (``MODEL.REID.ROIS``)."""

import torch
from detectron2.config import CfgNode as CN
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from person_search.errors import ConfigError
from person_search.labels import UNLABELED
from person_search.layers.crops import moved_corners


class ReIDSampler:
    """Chooses the RoIs that train the embedder, from sampled proposals and annotations.

    Args:
        rois: "gt": ground-truth boxes. "gt_jitter": those, and up to ``num_jitter`` sampled
            proposals of each with IoU >= ``jitter_iou``, because the test meets detections.
            "gt_moved": ground-truth boxes whose corners are moved at random, by up to
            ``move_corners`` of width and height (DKD, whose values are not known). "fg": every
            sampled foreground proposal.
        num_jitter, jitter_iou: see "gt_jitter".
        move_corners: see "gt_moved".
        uses_unlabeled: whether persons without identity are chosen too.
    """

    MODES = ("gt", "gt_jitter", "gt_moved", "fg")

    def __init__(
        self,
        rois: str = "gt_jitter",
        num_jitter: int = 2,
        jitter_iou: float = 0.7,
        uses_unlabeled: bool = False,
        move_corners: float = 0.1,
    ):
        if rois not in self.MODES:
            raise ConfigError(f"MODEL.REID.ROIS is {rois!r}; legal: {', '.join(self.MODES)}")
        self.rois, self.num_jitter, self.jitter_iou = rois, num_jitter, jitter_iou
        self.uses_unlabeled, self.move_corners = uses_unlabeled, move_corners

    @torch.no_grad()
    def __call__(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """RoIs per image: ``proposal_boxes``, and of the person that each shows all ``gt_`` fields.

        Args:
            proposals: sampled, with ``proposal_boxes`` and ``gt_person_ids``.
            targets: with ``gt_boxes`` and ``gt_person_ids``.
        """
        rois = []
        for sampled, target in zip(proposals, targets, strict=True):
            chosen = sampled if self.rois == "fg" else self._of_targets(sampled, target)
            lowest = UNLABELED if self.uses_unlabeled else 0
            rois.append(chosen[chosen.gt_person_ids >= lowest])
        return rois

    def _of_targets(self, sampled: Instances, target: Instances) -> Instances:
        boxes = target.gt_boxes.tensor
        owner = torch.arange(len(target), device=boxes.device)
        if self.rois == "gt_jitter" and len(target):
            extra, its_owner = self._jittered(sampled.proposal_boxes, target.gt_boxes)
            boxes, owner = torch.cat([boxes, extra]), torch.cat([owner, its_owner])
        elif self.rois == "gt_moved":
            boxes = moved_corners(boxes, self.move_corners)
        rois = target[owner]
        rois.proposal_boxes = Boxes(boxes)
        return rois

    def _jittered(self, proposals: Boxes, gt: Boxes) -> tuple[Tensor, Tensor]:
        """Up to ``num_jitter`` random proposals per ground-truth box, and the index of that box.

        Whom a proposal belongs to is decided by the largest IoU. Shuffled, the k-th one of a box
        has rank k: of owners 0, 1, 0, 0 the ranks are 1, 1, 2, 3, and ``num_jitter`` 2 leaves out
        the last one.
        """
        if len(proposals) == 0:
            return gt.tensor[:0], torch.zeros(0, dtype=torch.int64, device=gt.device)
        iou, owner = pairwise_iou(gt, proposals).max(dim=0)
        # IoU 1 is the ground-truth box itself, which the detector's sampler appended.
        order = torch.randperm(len(proposals), device=iou.device)
        order = order[((iou >= self.jitter_iou) & (iou < 1.0 - 1e-4))[order]]
        one_hot = owner[order, None] == torch.arange(len(gt), device=iou.device)
        rank_within_owner = one_hot.cumsum(dim=0).gather(1, owner[order, None])[:, 0]
        chosen = order[rank_within_owner <= self.num_jitter]
        return proposals.tensor[chosen].detach(), owner[chosen]


def add_sampling_config(cfg: CN) -> None:
    """Keys of :class:`ReIDSampler`; ``MODEL.REID`` is there already."""
    # RoIs that train the embedder of SearchROIHeads; with the other RoI heads every sampled
    # proposal does. "gt": ground-truth boxes | "gt_jitter": those and up to two sampled proposals
    # of each with IoU >= .7 | "gt_moved": ground-truth boxes, each corner moved at random (DKD) |
    # "fg": every sampled foreground proposal. STL is silent; gt_jitter, since the test meets
    # detections, not annotations.
    cfg.MODEL.REID.ROIS = "gt_jitter"
