"""A loss for a process that has nothing to learn from in this step."""

from torch import Tensor, nn


def zero_loss(module: nn.Module) -> Tensor:
    """A scalar 0 whose gradient, also 0, reaches every parameter of the module.

    Distributed training waits for the gradients of the same parameters on all processes.
    """
    return sum(p.sum() for p in module.parameters()) * 0.0
