"""Batch norm of any number of vectors, and batch norms whose statistics rest."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class RowBatchNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` that gives a lone row the running statistics, in training too.

    One row has no batch statistics, and none has not either; neither moves the running ones.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (R, C) vectors; R may be 0 or 1."""
        if self.training and len(x) < 2:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class StatisticsAtRest:
    """Within it batch norms normalize as before, but their running statistics do not move.

    The buffers still have to reach the operator, which keeps them for the backward: of a second
    pass that keeps less than the first, as in activation checkpointing, torch knows no gradient. So
    the momentum is what is set to zero.

    Args:
        module: whose batch norms.
    """

    def __init__(self, module: nn.Module):
        self.module = module

    def __enter__(self):
        norms = [m for m in self.module.modules() if isinstance(m, _BatchNorm)]
        self.before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error):
        for norm, momentum, counter in self.before:
            norm.momentum, norm.num_batches_tracked = momentum, counter
