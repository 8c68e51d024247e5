"""Batch norm of any number of vectors, and a pause for running statistics."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class RowBatchNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` that gives a lone row the running statistics, in training too.

    With fewer than two rows there are no batch statistics: the running ones are used and left
    unchanged.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (R, C) vectors; R may be 0 or 1."""
        if self.training and len(x) < 2:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class FrozenRunningStats:
    """Inside, batch norms normalize as before, but their running statistics do not move.

    The momentum is set to zero. Taking the buffers away would do, too, but for activation
    checkpointing: the operator keeps them for the backward, and torch refuses a second pass that
    keeps less than the first one. May be entered again, as by a second backward.

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
