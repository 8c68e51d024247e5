"""Schedules in epochs, as papers write them, turned into detectron2's iterations."""

import logging
from collections.abc import Collection

import torch
from detectron2.config import CfgNode as CN
from torch.optim.lr_scheduler import LRScheduler

from person_search.errors import ConfigError

from .lr_scheduler import build_lr_scheduler as build_scheduler

logger = logging.getLogger(__name__)


def resolve_epochs(cfg, num_images: int, keep: Collection[str] = ()) -> None:
    """Write SOLVER.EPOCHS and its companions into the keys that detectron2 reads.

    An epoch is ``num_images / SOLVER.IMS_PER_BATCH`` iterations, not rounded; each result is.

    Args:
        cfg: changed in place.
        num_images: training images.
        keep: keys (such as "SOLVER.MAX_ITER") that the user gave on the command line; they win.

    Raises:
        ConfigError: a step behind the end, or a schedule shorter than one iteration.
    """
    if cfg.SOLVER.EPOCHS <= 0:
        return
    late = [e for e in cfg.SOLVER.STEP_EPOCHS if not 0 < e < cfg.SOLVER.EPOCHS]
    if late:
        raise ConfigError(f"SOLVER.STEP_EPOCHS {late} not within SOLVER.EPOCHS {cfg.SOLVER.EPOCHS}")

    def iterations(epochs: float) -> int:
        return round(epochs * num_images / cfg.SOLVER.IMS_PER_BATCH)

    total = iterations(cfg.SOLVER.EPOCHS)
    values = {
        "SOLVER.MAX_ITER": total,
        "SOLVER.STEPS": tuple(iterations(e) for e in cfg.SOLVER.STEP_EPOCHS),
        "SOLVER.WARMUP_ITERS": iterations(cfg.SOLVER.WARMUP_EPOCHS),
        "SOLVER.CHECKPOINT_PERIOD": iterations(cfg.SOLVER.CHECKPOINT_EPOCHS) or total,
        "TEST.EVAL_PERIOD": iterations(cfg.TEST.EVAL_EPOCHS),
    }
    for key, value in values.items():
        if key not in keep:
            section, name = key.split(".")
            cfg[section][name] = value
    if cfg.SOLVER.MAX_ITER < 1:
        raise ConfigError(
            f"{cfg.SOLVER.EPOCHS} epochs of {num_images} images are less than one iteration of "
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}"
        )
    # A run cut short on the command line keeps no step behind its end.
    cfg.SOLVER.STEPS = tuple(s for s in cfg.SOLVER.STEPS if s < cfg.SOLVER.MAX_ITER)
    logger.info(
        "schedule: %d iterations, steps at %s, warm-up %d",
        cfg.SOLVER.MAX_ITER,
        cfg.SOLVER.STEPS,
        cfg.SOLVER.WARMUP_ITERS,
    )


def build_lr_scheduler(cfg, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """The scheduler that ``SOLVER.LR_SCHEDULER_NAME`` names; steps behind the end are left out.

    Raises:
        ConfigError: the keys of the schedule do not fit each other.
    """
    solver = cfg.SOLVER
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.STEPS = tuple(step for step in solver.STEPS if step < solver.MAX_ITER)
    try:
        return build_scheduler(cfg, optimizer)
    except (ArithmeticError, LookupError, ValueError) as error:
        raise ConfigError(
            f"there is no schedule {solver.LR_SCHEDULER_NAME} of SOLVER.MAX_ITER {solver.MAX_ITER} "
            f"with STEPS {tuple(solver.STEPS)} and WARMUP_ITERS {solver.WARMUP_ITERS} ({error}): "
            "steps ascend from 1, and the warm-up ends before the training does"
        ) from error


def add_solver_config(cfg: CN) -> None:
    """Keys of the training beside detectron2's ``SOLVER``."""
    # "SGD" | "Adam" | "AdamW". SOLVER.LR_SCHEDULER_NAME, beside detectron2's:
    # "WarmupLinearCosineLR"
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Gradient accumulation: parts of a batch that go through the model one after the other. Less
    # memory, the same step except for batch norm and losses that are not means over images.
    cfg.SOLVER.ACCUMULATE = 1
    # Schedules in epochs, as papers write them. EPOCHS > 0 overrides MAX_ITER, STEPS, WARMUP_ITERS,
    # CHECKPOINT_PERIOD and TEST.EVAL_PERIOD, using the number of training images and IMS_PER_BATCH,
    # but for keys that the command line names; 0: detectron2's keys hold.
    cfg.SOLVER.EPOCHS = 0
    cfg.SOLVER.STEP_EPOCHS = ()
    cfg.SOLVER.WARMUP_EPOCHS = 0
    # 0: a checkpoint after the last iteration only
    cfg.SOLVER.CHECKPOINT_EPOCHS = 1
    # 0: evaluate after the last iteration only
    cfg.TEST.EVAL_EPOCHS = 0
