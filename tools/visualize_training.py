#!/usr/bin/env python
"""Training curves of a run, from its metrics.json.

    python tools/visualize_training.py output/Street/stl_mrfp

Writes curves.png into the run's folder: every loss, the learning rate, and the search results
wherever they were evaluated.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from person_search.command import run_program
from person_search.errors import ResultsError

SEARCH = {"search/mAP": "mAP", "search/top1": "top-1", "detection/AP": "detection AP"}


def read_metrics(path: Path) -> list[dict]:
    """The records of metrics.json; a line cut off by a crash is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def series(records: list[dict], key: str) -> tuple[list, list]:
    """Iterations and values of one quantity."""
    points = [(r["iteration"], r[key]) for r in records if key in r and "iteration" in r]
    return tuple(map(list, zip(*points, strict=True))) if points else ([], [])


def draw_curves(run: Path) -> Path:
    """Write ``curves.png`` of a run folder; returns its path."""
    records = read_metrics(run / "metrics.json")
    losses = sorted({k for r in records for k in r if "loss" in k and k != "total_loss"})
    evaluated = [k for k in SEARCH if series(records, k)[0]]
    panels = 3 if evaluated else 2
    figure = Figure(figsize=(5 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels)
    for key in ["total_loss", *losses]:
        axes[0].plot(*series(records, key), label=key, lw=2 if key == "total_loss" else 1)
    axes[0].set(title="losses", yscale="log", xlabel="iteration")
    axes[0].legend(fontsize=7)
    axes[1].plot(*series(records, "lr"), color="tab:gray")
    axes[1].set(title="learning rate", xlabel="iteration")
    for key in evaluated:
        axes[2].plot(*series(records, key), marker="o", label=SEARCH[key])
    if evaluated:
        axes[2].set(title="test set, percent", xlabel="iteration", ylim=(0, 100))
        axes[2].legend(fontsize=8)
    for axis in axes:
        axis.grid(alpha=0.3)
    path = run / "curves.png"
    figure.savefig(path, dpi=120)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of a training run")
    args = parser.parse_args()
    if not (args.run / "metrics.json").is_file():
        raise ResultsError(
            f"{args.run} holds no metrics.json: give the OUTPUT_DIR of a training run"
        )
    print(draw_curves(args.run))


if __name__ == "__main__":
    run_program(main)
