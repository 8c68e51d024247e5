"""Memory of a training step with each key that lowers it, against the step without any.

Works for every config. All rows make the same steps from the same random weights on the same
batches, each in a process of its own. Memory is what the steps take beyond the program, the model
and its batches: of tensors on a GPU, of the process on a CPU. Time is that of the fastest step, on
a CPU of the processor.
"""

import argparse
from itertools import islice

from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from person_search.data import build_train_loader

from .common import (
    add_config_arguments,
    device_name,
    in_fresh_process,
    print_rows,
    read_configs,
    step_figures,
    step_ratios,
)

FOUR_PARTS = ("SOLVER.ACCUMULATE", "4")
CHECKPOINTS = ("MODEL.BACKBONE.CHECKPOINT_STAGES", "('res2', 'res3', 'res4', 'res5')")
AUTOCAST = ("SOLVER.AMP.ENABLED", "True")
RECIPES = {
    "plain": (),
    "2 parts": ("SOLVER.ACCUMULATE", "2"),
    "4 parts": FOUR_PARTS,
    "checkpoints": CHECKPOINTS,
    "mixed precision": AUTOCAST,
    "4 parts, checkpoints": (*FOUR_PARTS, *CHECKPOINTS),
    "all three": (*FOUR_PARTS, *CHECKPOINTS, *AUTOCAST),
}
"""Row -> keys and values; the first is what the others are compared with."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=2, help="of each row (default: 2)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_config_arguments(parser, "configs/Street/stl_mrfp.yaml")


def run(args: argparse.Namespace) -> None:
    rows, plain = [], {}
    for recipe, opts in RECIPES.items():
        for path, cfg in read_configs(args, *opts, "DATALOADER.NUM_WORKERS", "0").items():
            figures = in_fresh_process(measure, cfg, args.steps)
            ratios = step_ratios(figures, plain.setdefault(path, figures))
            rows.append({"config": path, "recipe": recipe, **figures, **ratios})
    note = f"ratios to the plain step; {device_name(cfg.MODEL.DEVICE)}"
    print_rows(rows, args.json, note)


def measure(cfg, steps: int) -> dict[str, float]:
    """Figures of a config's training step."""
    seed_all_rng(max(cfg.SEED, 0))
    batches = list(islice(build_train_loader(cfg), steps))
    return {"samples": len(batches[0]), **step_figures(cfg, build_model(cfg), batches)}
