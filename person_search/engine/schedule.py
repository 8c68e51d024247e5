"""Schedules in epochs, as papers write them, turned into detectron2's iterations."""

import logging
from collections.abc import Collection

from person_search.errors import ConfigError

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
