#!/usr/bin/env python
"""Train and evaluate every model of this project.

    python train_net.py --config-file PRW/stl_mrfp.yaml \
        MODEL.WEIGHTS output/ReID-Pretrain/PRW/model_final.pth
    python train_net.py --config-file PRW/stl_mrfp.yaml --resume
    python train_net.py --config-file PRW/stl_mrfp.yaml --eval-only \
        MODEL.WEIGHTS output/PRW/stl_mrfp/model_final.pth
    python train_net.py --config-file my_method.yaml --import my_parts

A config is a path, or a name below ``configs/``. ``--import`` names modules that register parts or
data sets of your own.
"""

import argparse
from datetime import timedelta

from detectron2.engine import default_argument_parser, launch
from detectron2.engine.launch import DEFAULT_TIMEOUT

from person_search import read_config
from person_search.engine import Trainer, evaluate, import_parts, one_line_endings, set_up


def main(args: argparse.Namespace) -> dict | None:
    """Train, or evaluate only; returns the metrics of the test sets."""
    import_parts(args.imports)
    cfg = set_up(args, read_config(args.config_file, args.opts))
    if args.eval_only:
        return evaluate(cfg, resume=args.resume)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def argument_parser() -> argparse.ArgumentParser:
    """detectron2's, with what it leaves at its default."""
    parser = default_argument_parser()
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="to import first, since it registers parts or data sets of your own; may be repeated",
    )
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
    """Launch :func:`main` on the wanted processes; if one of a machine ends early, so do all."""
    with one_line_endings():
        launch(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
            timeout=timedelta(minutes=args.dist_timeout),
        )


if __name__ == "__main__":
    run(argument_parser().parse_args())
