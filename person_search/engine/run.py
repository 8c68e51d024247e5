"""What a run begins with: parts of the user's own, its config, logs and folder; and evaluation."""

import argparse
import importlib
import os
import sys
from collections.abc import Iterable

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from person_search.config_files import find_config
from person_search.data import check_dataset_names, count_train_samples
from person_search.errors import ConfigError

from .checkpoint import PersonSearchCheckpointer
from .convert import adopt_conventions
from .run_folder import RunFolder
from .schedule import resolve_epochs
from .settings import check_settings
from .trainer import Trainer


def import_parts(modules: Iterable[str]) -> None:
    """Import modules that register parts or data sets of a user's own.

    They are code, and so come from the user alone: a config, which may be a stranger's, names none.

    Args:
        modules: dotted names; beside what is installed, the current folder is searched.

    Raises:
        ConfigError: there is no such module.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # the module is there, and what it imports is not
            raise ConfigError(
                f"--import {module}: there is no such module, neither in {os.getcwd()} nor "
                "installed. Give its name as in Python: my_parts for my_parts.py"
            ) from error


def set_up(args: argparse.Namespace, cfg: CfgNode) -> CfgNode:
    """Check and freeze the config of a run, and set up its logs and output folder.

    Args:
        args: of train_net.py.
        cfg: as :func:`person_search.read_config` reads it; changed in place.

    Raises:
        ConfigError: something in it is not legal.
    """
    check_settings(cfg)
    check_dataset_names(cfg)
    log = setup_logger(
        output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="person_search"
    )
    resumed = RunFolder(cfg.OUTPUT_DIR).checkpoints() if args.resume else ()
    adopt_conventions(cfg, *map(str, resumed), cfg.MODEL.WEIGHTS, explicit=args.opts[::2])
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        log.warning("no GPU found: running on the CPU")
    if cfg.MODEL.DEVICE == "cpu" and comm.get_world_size() > 1:
        raise ConfigError("several processes train on GPUs only: take --num-gpus 1 on a CPU")
    if not args.eval_only:
        if not cfg.MODEL.WEIGHTS and cfg.MODEL.BACKBONE.FREEZE_AT > 0:
            raise ConfigError(
                "MODEL.WEIGHTS is empty, and MODEL.BACKBONE.FREEZE_AT "
                f"{cfg.MODEL.BACKBONE.FREEZE_AT} would freeze random weights: set it to 0, or "
                "MODEL.WEIGHTS"
            )
        if cfg.SOLVER.EPOCHS > 0:
            resolve_epochs(cfg, count_train_samples(cfg), keep=args.opts[::2])
    cfg.freeze()
    args.config_file = str(find_config(args.config_file))  # detectron2 copies it into the log
    default_setup(cfg, args)
    return cfg


def evaluate(cfg: CfgNode, resume: bool = False) -> dict:
    """Evaluate ``MODEL.WEIGHTS`` on ``DATASETS.TEST``; returns the metrics.

    Args:
        cfg: of the run.
        resume: take the latest checkpoint in ``OUTPUT_DIR`` instead.
    """
    of_test = cfg.clone()
    of_test.defrost()
    of_test.MODEL.REID.NUM_IDS = 0  # a test needs neither the training data nor a classifier
    model = Trainer.build_model(of_test)
    checkpointer = PersonSearchCheckpointer(model, cfg.OUTPUT_DIR, complete=True)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    comm.synchronize()  # a rank that leaves early can take another one with it
    return results
