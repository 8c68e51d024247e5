"""Time and memory of a training step on this device, by part, for one or several configs.

Works for every config: samples are frames, or crops where DATALOADER.SOURCE says so. "data" is the
time that the step waits for its batch; "optimizer" includes the clipping of gradients. Milliseconds
are medians over the steps, "step" is their sum. Every config runs in a process of its own with
random weights; memory is the peak of the tensors on a GPU, of the process on a CPU.
"""

import argparse

import torch
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage

from person_search.data import build_train_loader
from person_search.engine import build_optimizer
from person_search.precision import autocast_dtype

from .common import (
    Clock,
    add_config_arguments,
    device_name,
    in_fresh_process,
    peak_gib,
    print_rows,
    read_configs,
    step_ratios,
)

PARTS = ("data", "forward", "backward", "optimizer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=10, help="timed (default: 10)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_config_arguments(parser, "configs/Street/stl.yaml", "configs/Street/stl_mrfp.yaml")


def run(args: argparse.Namespace) -> None:
    rows = []
    for path, cfg in read_configs(args).items():
        figures = in_fresh_process(measure, cfg, args.steps, args.warmup)
        ratios = step_ratios(figures, rows[0] if rows else figures)
        rows.append({"config": path, **figures, **ratios})
    note = f"median of {args.steps} steps; {device_name(cfg.MODEL.DEVICE)}; ratios to the first row"
    print_rows(rows, args.json, note)


def measure(cfg, steps: int, warmup: int) -> dict[str, float]:
    """Figures of the training step of a config."""
    device = cfg.MODEL.DEVICE
    seed_all_rng(max(cfg.SEED, 0))
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    dtype, kind = autocast_dtype(cfg, "SOLVER"), torch.device(device).type
    scaler = torch.amp.GradScaler(kind, enabled=dtype is torch.float16)
    batches = iter(build_train_loader(cfg))
    clock = Clock(device)
    with EventStorage():
        for step in range(warmup + steps):
            if step == warmup:
                clock.laps.clear()
            clock.start()
            batch = next(batches)
            clock.lap("data")
            with torch.autocast(kind, dtype, enabled=dtype is not None):
                loss = sum(model(batch).values())
            clock.lap("forward")
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            clock.lap("backward")
            scaler.step(optimizer)
            scaler.update()
            clock.lap("optimizer")
    parts = clock.medians()
    total = sum(parts.values())
    return {
        "samples": len(batch),
        **{f"{part} ms": parts[part] for part in PARTS},
        "step ms": total,
        f"{cfg.DATALOADER.SOURCE}/s": 1000 * len(batch) / total,
        "memory GiB": peak_gib(device),
    }
