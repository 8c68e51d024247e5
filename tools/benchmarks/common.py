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
from tabulate import tabulate

from person_search import read_config


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
    """Wall time of parts of a repeated pass; waits for the GPU at every reading.

    Args:
        device: that the work is done on.

    Attributes:
        laps: part -> milliseconds of every pass.
    """

    def __init__(self, device: str):
        self.device = torch.device(device)
        self.laps: dict[str, list[float]] = {}
        self.last = 0.0

    def read(self) -> float:
        """Milliseconds, when all work that was asked for is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() * 1000

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


def peak_gib(device: str = "cpu") -> float:
    """Most memory so far: of all tensors on a GPU, of the process on a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def print_rows(rows: list[dict[str, Any]], as_json: bool, note: str) -> None:
    """A table with one line per row, and a note below it."""
    if as_json:
        print(json.dumps({"rows": rows, "note": note}, indent=1))
        return
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    print(f"({note})")
