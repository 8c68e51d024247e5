"""Gradients that are scaled or reversed on their way back (Ganin and Lempitsky, ICML 2015)."""

import math

import torch
from torch import Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * gradient, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` itself; its gradient is ``factor`` times that of the result.

    With a negative factor what learns behind it and what learns before it are adversaries: the
    parameters behind it lower a loss, those before it raise it.
    """
    return _ScaleGradient.apply(x, factor)


def reversal_factor(schedule: str, progress: float) -> float:
    """Share of its final weight that the reversal has.

    Args:
        schedule: "constant": all of it | "sigmoid": 2 / (1 + exp(-10 progress)) - 1, so that the
            first, random classifiers do not disturb (Ganin and Lempitsky, section 4).
        progress: of the training, from 0 to 1.

    Raises:
        ValueError: there is no such schedule.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "sigmoid":
        return 2 / (1 + math.exp(-10 * progress)) - 1
    raise ValueError(f"schedule is {schedule!r}; legal: constant, sigmoid")
