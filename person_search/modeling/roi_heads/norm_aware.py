"""Scores of boxes from the norms of their embeddings (NAE, Chen et al., CVPR 2020).

Shape shorthand in this module:
    R: number of RoIs; C: channels of res5; D: embedding size
"""

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from torch import Tensor

from person_search.layers.batch_norm import RowBatchNorm
from person_search.layers.norm_aware import norm_aware_linear


class NormAwareOutputLayers(FastRCNNOutputLayers):
    """The score of a box is sigmoid(batch norm(norm of its embedding)).

    The logits are given as (logit, 0) for person and background, whose softmax is that sigmoid and
    whose cross entropy is the binary one; so losses and inference are detectron2's.

    Args:
        input_shape: C channels of what the box is refined from.
        kwargs: of ``FastRCNNOutputLayers``.
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, **kwargs):
        super().__init__(input_shape, **kwargs)
        self.cls_score = RowBatchNorm(1)
        self.bbox_pred = norm_aware_linear(input_shape.channels, self.bbox_pred.out_features)

    def forward(self, x: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """(R, C) features and (R, D) embeddings to (R, 2) logits and (R, 4) deltas."""
        norms = embeddings.float().norm(dim=1, keepdim=True)  # stays (R, 1), also of one RoI
        logits = self.cls_score(norms)
        return torch.cat([logits, torch.zeros_like(logits)], dim=1), self.bbox_pred(x)
