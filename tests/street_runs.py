"""Runs of train_net.py on Street tiny, in the process of the tests."""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from person_search.data.readers import register_all

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "Street" / "stl_mrfp.yaml"

sys.path.insert(0, str(REPOSITORY))
import train_net  # noqa: E402  (found through the line above)

OPTS = """
    MODEL.DEVICE cpu  MODEL.RESNETS.STEM_OUT_CHANNELS 16  MODEL.RESNETS.RES2_OUT_CHANNELS 16
    MODEL.RPN.PRE_NMS_TOPK_TRAIN 200  MODEL.RPN.POST_NMS_TOPK_TRAIN 50
    MODEL.RPN.PRE_NMS_TOPK_TEST 100  MODEL.RPN.POST_NMS_TOPK_TEST 20
    MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 32  MODEL.ROI_BOX_HEAD.FC_DIM 32
    INPUT.MIN_SIZE_TRAIN (120,)  INPUT.MAX_SIZE_TRAIN 160
    INPUT.MIN_SIZE_TEST 120  INPUT.MAX_SIZE_TEST 160
    DATASETS.TRAIN ('street_tiny_train',)  DATASETS.TEST ('street_tiny_test',)
    DATALOADER.NUM_WORKERS 0  TEST.IMS_PER_BATCH 4
    SOLVER.EPOCHS 0  SOLVER.STEPS ()  SOLVER.WARMUP_ITERS 0  SOLVER.IMS_PER_BATCH 4
""".split()
"""The shipped config at a quarter's width and 160x120 pixels: a tenth of a second per step."""


def arguments(
    *opts, config: Path | str = CONFIG, resume: bool = False, eval_only: bool = False
) -> Namespace:
    """Of train_net.py; ``opts`` are keys and values."""
    flags = ["--resume"] * resume + ["--eval-only"] * eval_only
    line = ["--config-file", str(config), *flags, *OPTS, *map(str, opts)]
    return train_net.argument_parser().parse_args(line)


@contextmanager
def registered(root: Path) -> Iterator[None]:
    """The built-in data sets below ``root``, and the loggers afterwards as they were before."""
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "person_search")]
    states = [(log, log.level, log.propagate, log.handlers[:]) for log in loggers]
    register_all(root)
    try:
        yield
    finally:
        register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
        for log, level, propagate, handlers in states:
            for handler in set(log.handlers) - set(handlers):
                handler.close()
            log.setLevel(level)
            log.propagate, log.handlers = propagate, handlers
