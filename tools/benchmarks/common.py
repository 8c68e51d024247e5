"""What the parts share: configs from the command line, clocks, memory, and printing."""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from tabulate import tabulate
from torch import nn

from person_search import read_config
from person_search.engine import AccumulatingTrainer, build_optimizer
from person_search.precision import autocast_dtype

STEP = ("step ms", "memory GiB")
"""Figures of a training step."""


def add_config_arguments(parser: argparse.ArgumentParser, *defaults: str) -> None:
    """--config-file, one or several, and --opts."""
    parser.add_argument(
        "--config-file",
        nargs="+",
        default=list(defaults),
        help=f"one row each (default: {' '.join(defaults)})",
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for all configs, last"
    )


def read_configs(args: argparse.Namespace, *opts: str) -> dict[str, Any]:
    """Configs by file name; without a GPU they are for the CPU. ``opts`` override everything."""
    configs = {}
    for path in args.config_file:
        cfg = read_config(path, [*args.opts, *opts])
        if not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        configs[path] = cfg
    return configs


def device_name(device: str) -> str:
    """What the figures were measured on."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"


class Clock:
    """Time of parts of a repeated pass; waits for the GPU at every reading.

    Args:
        device: that the work is done on.
        seconds: reads a clock; wall time by default.

    Attributes:
        laps: part -> milliseconds of every pass.
    """

    def __init__(
        self, device: str | torch.device, seconds: Callable[[], float] = time.perf_counter
    ):
        self.device, self.seconds = torch.device(device), seconds
        self.laps: dict[str, list[float]] = {}
        self.last = 0.0

    def read(self) -> float:
        """Milliseconds, when all work that was asked for is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.seconds() * 1000

    def start(self) -> None:
        """A pass begins."""
        self.last = self.read()

    def lap(self, part: str) -> None:
        """A part ends, and with it begins the next one."""
        now = self.read()
        self.laps.setdefault(part, []).append(now - self.last)
        self.last = now

    def medians(self) -> dict[str, float]:
        """Milliseconds by part, the median over the passes."""
        return {part: median(laps) for part, laps in self.laps.items()}


def in_fresh_process(function: Callable, *args: Any) -> Any:
    """Call a function in a new process, whose peak memory is that of the call alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_gib(device: str | torch.device = "cpu") -> float:
    """Most memory so far: of all tensors on a GPU, of the process on a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def step_figures(cfg, model: nn.Module, batches: list) -> dict[str, float]:
    """Train a step on every batch, as the config says; what a step takes.

    Returns:
        ``step ms``: the fastest one. On a CPU time of the processor, which counts only this
        process. ``memory GiB``: the most that the steps took beyond what was taken before.
    """
    device = torch.device(cfg.MODEL.DEVICE)
    trainer = AccumulatingTrainer(
        model.train(),
        batches,
        build_optimizer(cfg, model),
        cfg.SOLVER.ACCUMULATE,
        autocast_dtype(cfg, "SOLVER"),
    )
    clock = Clock(device, time.process_time if device.type == "cpu" else time.perf_counter)
    before = peak_gib(device)
    with EventStorage():
        for trainer.iter in range(len(batches)):
            clock.start()
            trainer.run_step()
            clock.lap("step")
    return dict(zip(STEP, (min(clock.laps["step"]), peak_gib(device) - before), strict=True))


def step_ratios(figures: dict[str, float], first: dict[str, float]) -> dict[str, float]:
    """Time and memory of a training step as multiples of those of the first row."""
    return {f"{key.split()[0]} ratio": figures[key] / first[key] for key in STEP}


def print_rows(rows: list[dict[str, Any]], as_json: bool, note: str) -> None:
    """A table with one line per row, and a note below it."""
    if as_json:
        print(json.dumps({"rows": rows, "note": note}, indent=1))
        return
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    print(f"({note})")
