"""Learning from two views of the same person without labels: SimSiam (Chen and He, CVPR 2021).

Shape shorthand in this module:
    R: number of persons; D: embedding size
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import RowBatchNorm


def projector(dim: int) -> nn.Sequential:
    """Three layers (R, D) -> (R, D), each with batch norm, the last one's not learned."""
    return nn.Sequential(
        nn.Linear(dim, dim, bias=False),
        RowBatchNorm(dim),
        nn.ReLU(),
        nn.Linear(dim, dim, bias=False),
        RowBatchNorm(dim),
        nn.ReLU(),
        nn.Linear(dim, dim, bias=False),
        RowBatchNorm(dim, affine=False),
    )


def predictor(dim: int) -> nn.Sequential:
    """Two layers (R, D) -> (R, D) with a bottleneck of D / 4, which keep SimSiam from collapse."""
    return nn.Sequential(
        nn.Linear(dim, dim // 4, bias=False),
        RowBatchNorm(dim // 4),
        nn.ReLU(),
        nn.Linear(dim // 4, dim),
    )


def simsiam_loss(
    first: Tensor, second: Tensor, predict: nn.Module, shares: Tensor | None = None
) -> Tensor:
    """Mean over persons of -(cos(p1, sg(z2)) + cos(p2, sg(z1))) / 2, in [-1, 1].

    p is the prediction of the view z; sg stops the gradient, so that each view learns through its
    own prediction alone.

    Args:
        first, second: (R, D) the two views of R persons; R may be 0, which gives 0.
        predict: (R, D) -> (R, D). It sees the views one after the other, as their batch norms have
            to.
        shares: (R,) weight of each person in the mean, with sum 1; None: all the same.
    """
    if len(first) == 0:
        return (first.sum() + second.sum() + sum(p.sum() for p in predict.parameters())) * 0.0
    cosines = F.cosine_similarity(predict(first).float(), second.detach().float())
    cosines = cosines + F.cosine_similarity(predict(second).float(), first.detach().float())
    return -(cosines.mean() if shares is None else (shares * cosines).sum()) / 2


def spread(views: Tensor) -> float:
    """How far features (R, D) are from collapse.

    The standard deviation of their unit vectors, times sqrt(D): about 1 where they point
    everywhere, 0 where all of them point one way.
    """
    if len(views) == 0:
        return 0.0
    return float(F.normalize(views).std(dim=0, correction=0).mean()) * views.shape[1] ** 0.5
