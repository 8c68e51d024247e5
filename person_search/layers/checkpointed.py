"""Activation checkpointing that leaves the running statistics of batch norms alone."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .batch_norm import FrozenRunningStats


class CheckpointedSequential(nn.Sequential):
    """``nn.Sequential`` that keeps only its input for the backward, which runs it a second time.

    Saves the memory of what lies between, costs one more forward, and changes no number: dropout
    draws the same again, and running statistics take a batch in once.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x)
        contexts = nullcontext(), FrozenRunningStats(self)
        return checkpoint(super().forward, x, use_reentrant=False, context_fn=lambda: contexts)
