"""Learning rate schedules by name; those of detectron2 are built by it."""

import math

from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as build_of_detectron2
from fvcore.common.param_scheduler import ParamScheduler

NAME = "WarmupLinearCosineLR"


class LinearCosineParamScheduler(ParamScheduler):
    """Linear decay times half a cosine, as TensorFlow's ``linear_cosine_decay`` defines it.

    At the share t of the schedule the factor is
    ``(alpha + 1 - t) * (1 + cos(2 pi num_periods t)) / 2 + beta``. With the defaults it is 1.001 at
    the beginning, .251 in the middle, and .001 at the end.

    Args:
        num_periods: of the cosine.
        alpha, beta: see the formula.
    """

    def __init__(self, num_periods: float = 0.5, alpha: float = 0.0, beta: float = 0.001):
        self.num_periods, self.alpha, self.beta = num_periods, alpha, beta

    def __call__(self, where: float) -> float:
        """The factor at ``where`` in [0, 1]."""
        cosine = 0.5 * (1 + math.cos(2 * math.pi * self.num_periods * where))
        return (self.alpha + 1 - where) * cosine + self.beta


def build_lr_scheduler(cfg, optimizer):
    """The schedule that ``SOLVER.LR_SCHEDULER_NAME`` names: detectron2's or WarmupLinearCosineLR.

    The latter is warmed up as detectron2's are (``SOLVER.WARMUP_ITERS``, ``WARMUP_FACTOR``).
    """
    if cfg.SOLVER.LR_SCHEDULER_NAME != NAME:
        return build_of_detectron2(cfg, optimizer)
    schedule = WarmupParamScheduler(
        LinearCosineParamScheduler(),
        cfg.SOLVER.WARMUP_FACTOR,
        min(cfg.SOLVER.WARMUP_ITERS / cfg.SOLVER.MAX_ITER, 1.0),
        cfg.SOLVER.WARMUP_METHOD,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=cfg.SOLVER.MAX_ITER)
