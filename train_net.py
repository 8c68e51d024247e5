#!/usr/bin/env python
"""Train and evaluate every model of this project.

    python train_net.py --config-file configs/PRW/stl_mrfp.yaml \
        MODEL.WEIGHTS output/ReID-Pretrain/PRW/model_final.pth
    python train_net.py --config-file configs/PRW/stl_mrfp.yaml --resume
    python train_net.py --config-file configs/PRW/stl_mrfp.yaml --eval-only \
        MODEL.WEIGHTS output/PRW/stl_mrfp/model_final.pth
"""

import argparse
import sys
import weakref
from datetime import timedelta

import torch
from detectron2.config import CfgNode
from detectron2.engine import (
    DefaultTrainer,
    default_argument_parser,
    default_setup,
    launch,
)
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from person_search import read_config
from person_search.data import (
    build_test_loader,
    build_train_loader,
    check_dataset_names,
    count_train_samples,
)
from person_search.engine import (
    AccumulatingTrainer,
    PersonSearchCheckpointer,
    ProgressBar,
    ReproducibleSteps,
    TrainingSets,
    build_optimizer,
    resolve_epochs,
    share_buffers,
)
from person_search.errors import ConfigError, PersonSearchError
from person_search.evaluation import build_evaluator
from person_search.precision import autocast_dtype


class Trainer(DefaultTrainer):
    """detectron2's trainer with this project's loaders, evaluator and checkpointer."""

    build_train_loader = staticmethod(build_train_loader)
    build_test_loader = staticmethod(build_test_loader)
    build_evaluator = staticmethod(build_evaluator)
    build_optimizer = staticmethod(build_optimizer)

    def build_hooks(self):
        """See ``DefaultTrainer``. Called before the first hook needs trainer or checkpointer."""
        if self.cfg.SOLVER.ACCUMULATE > 1 or self.cfg.SOLVER.AMP.ENABLED:
            self._trainer = AccumulatingTrainer(
                self._trainer.model,
                self._trainer.data_loader,
                self._trainer.optimizer,
                self.cfg.SOLVER.ACCUMULATE,
                autocast_dtype(self.cfg, "SOLVER"),
            )
        self.checkpointer = PersonSearchCheckpointer(
            self._trainer.model,
            self.cfg.OUTPUT_DIR,
            trainer=weakref.proxy(self),
            train_sets=TrainingSets(self.cfg.DATASETS.TRAIN),
        )
        share_buffers(self._trainer.model)
        hooks = super().build_hooks()
        if self.cfg.SEED >= 0:
            hooks.insert(0, ReproducibleSteps(self.cfg.SEED))
        if comm.is_main_process():
            hooks.append(ProgressBar())
        return hooks

    @classmethod
    def test(cls, cfg, model, evaluators=None) -> dict:
        """See ``DefaultTrainer``."""
        share_buffers(model)
        return super().test(cfg, model, evaluators)


def setup(args) -> CfgNode:
    """The frozen config of a run, and detectron2's usual set-up of logs and output folder."""
    cfg = read_config(args.config_file, args.opts)
    check_dataset_names(cfg)
    logger = setup_logger(
        output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="person_search"
    )
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        logger.warning("no GPU found: running on the CPU")
    if cfg.MODEL.DEVICE == "cpu" and comm.get_world_size() > 1:
        raise ConfigError("several processes train on GPUs only: take --num-gpus 1 on a CPU")
    if not (args.eval_only or cfg.MODEL.WEIGHTS) and cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        raise ConfigError(
            f"MODEL.WEIGHTS is empty, and MODEL.BACKBONE.FREEZE_AT {cfg.MODEL.BACKBONE.FREEZE_AT} "
            "would freeze random weights: set it to 0, or MODEL.WEIGHTS"
        )
    if not args.eval_only and cfg.SOLVER.EPOCHS > 0:
        resolve_epochs(cfg, count_train_samples(cfg), keep=args.opts[::2])
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


def main(args) -> dict:
    """Train, or evaluate only; returns the metrics of the test sets."""
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        PersonSearchCheckpointer(model, cfg.OUTPUT_DIR, complete=True).resume_or_load(
            cfg.MODEL.WEIGHTS, resume=args.resume
        )
        results = Trainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        comm.synchronize()  # a rank that leaves early can take another one with it
        return results
    for name in cfg.DATASETS.TEST:
        build_evaluator(cfg, name)  # a mistake there should not wait for the end of the training
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()
    return trainer._last_eval_results


def argument_parser() -> argparse.ArgumentParser:
    """detectron2's, with what it leaves at its default."""
    parser = default_argument_parser()
    parser.add_argument(
        "--dist-timeout",
        type=float,
        default=DEFAULT_TIMEOUT.total_seconds() / 60,
        metavar="MINUTES",
        help="after which a process gives up on one that does not answer (default: %(default)g); "
        "longer than the main process takes to evaluate, for which the others wait",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Launch :func:`main` on the wanted processes; a user's mistake ends in one line.

    If one process of a machine ends early, those beside it are ended too.
    """
    try:
        launch(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
            timeout=timedelta(minutes=args.dist_timeout),
        )
    except ProcessExitedException as error:
        sys.exit(
            f"{error}, and the others were ended. Mostly the system was out of memory: fewer "
            "DATALOADER.NUM_WORKERS, or a larger SOLVER.ACCUMULATE, take less. --resume goes on "
            "from the last checkpoint"
        )
    except (PersonSearchError, ProcessRaisedException) as error:
        # The message of another process (a loader's worker, a rank) is its whole traceback; the
        # user needs the end.
        kind = type(error)
        text = f"{kind.__module__}.{kind.__name__}: {error}"
        _, found, message = text.rpartition(f"{PersonSearchError.__module__}.")
        if not found:
            raise
        sys.exit(message.strip())


if __name__ == "__main__":
    run(argument_parser().parse_args())
