#!/usr/bin/env python
"""Run the rows of a table of a paper with several seeds, and write the table.

    python tools/ablation.py stl-2 --data Street --seeds 3 --jobs 2
    python tools/ablation.py stl-2 --data PRW --imagenet resnet50_ibn_a.pth --num-gpus 1
    python tools/ablation.py stl-4 --data Street SOLVER.EPOCHS 5 SOLVER.STEP_EPOCHS "(4,)"

A table is a file of tools/ablations; its rows are configs below configs/DATA. What a row starts
from (re-ID pre-training, say) is trained first, once per seed and for all tables. A run that was
interrupted goes on, one that is finished is not repeated: the same command again completes the
table, which is rewritten after every run. KEY VALUE pairs go to every row's training, those behind
--pretraining to what the rows start from; the table names both.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ablations.tables import TABLES, Row, Table, load_table

from person_search.command import run_program
from person_search.errors import ConfigError
from person_search.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Run:
    """One training with its evaluation.

    Attributes:
        config: path below ``configs`` without ``.yaml``.
        opts: config keys and values.
        folder: its OUTPUT_DIR.
        start: the run that gives its weights, if one of ours does.
        part: "backbone": it gives only those.
    """

    config: str
    opts: tuple[str, ...]
    folder: Path
    start: "Run | None" = None
    part: str = ""

    @property
    def record(self) -> dict:
        """What is noted in the folder: settings, and of a finished run its commit and seconds."""
        path = self.folder / "run.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return "seconds" in self.record

    def check(self) -> None:
        """Refuse a folder that holds a run with other settings."""
        found, wanted = self.record, {"config": self.config, "opts": list(self.opts)}
        if self.start:
            self.start.check()
        if found and any(found[key] != wanted[key] for key in wanted):
            raise ConfigError(
                f"{self.folder} holds a run of {found['config']} with {' '.join(found['opts'])}, "
                f"not with {' '.join(self.opts)}: choose another --output, or remove it"
            )

    def execute(self, num_gpus: int, slot: int) -> None:
        """Run train_net.py from where it was stopped, once what it starts from is there.

        Args:
            num_gpus: that it takes.
            slot: which of the jobs at a time it is; each has GPUs and a port of its own.

        Raises:
            RuntimeError: it failed; with its last line.
        """
        record = {"config": self.config, "opts": list(self.opts)}
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / "run.json", json.dumps(record, indent=1))
        command = [sys.executable, "train_net.py", "--config-file", f"configs/{self.config}.yaml"]
        command += ["--resume", "--num-gpus", str(num_gpus)]
        command += ["--dist-url", "auto"] * (num_gpus > 1)
        command += [*self.opts, "OUTPUT_DIR", str(self.folder)]
        print(f"== {self.folder}", flush=True)
        begun = time.time()
        if self.part:
            files = [self.start.folder / f"{name}.pth" for name in ("model_final", self.part)]
            self._call([sys.executable, "tools/select_weights.py", *map(str, files)])
        self._call(command, gpus_of_slot(slot, num_gpus))
        record |= {"seconds": round(time.time() - begun), "commit": commit()}
        _write(self.folder / "run.json", json.dumps(record, indent=1))

    def _call(self, command: list[str], more: dict[str, str] | None = None) -> None:
        console, env = self.folder / "console.txt", os.environ | (more or {})
        with open(console, "a", encoding="utf-8") as log:
            ended = subprocess.run(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        if ended.returncode:
            last = " ".join(console.read_text(encoding="utf-8").splitlines()[-1:])
            raise RuntimeError(f"{self.folder}: {last} (see {console.name} there)")


def plan(table: Table, row: Row, seed: int, args: argparse.Namespace) -> Run:
    """The run of a row with one seed, and the run that it starts from."""
    config = row.config.format(data=args.data)
    shared = args.pretraining if row.is_pretraining else args.opts
    start, weights = None, ("MODEL.WEIGHTS", "")
    if row.start == IMAGENET or (row.is_pretraining and args.imagenet):
        weights = ("MODEL.WEIGHTS", str(args.imagenet))
    elif row.start:
        start = plan(table, table.starts[row.start], seed, args)
        weights = ("MODEL.WEIGHTS", str(start.folder / f"{row.part or 'model_final'}.pth"))
    elif row.is_pretraining:
        weights = ()  # those that its config names
    # The folder's name says what is in it.
    parts = [config.split("/")[-1], row.start or "random", *filter(None, [row.part])]
    name = "+".join([*parts, *map(_word, row.opts[1::2])])
    folder = args.output / config.split("/")[0] / name / f"seed_{seed}"
    opts = (*weights, "SEED", str(seed), *shared, *row.opts)
    return Run(config, opts, folder, start, row.part)


def _word(value: str) -> str:
    """An option's value as a part of a folder name."""
    return "".join(c for c in value if c.isalnum() or c in ".-_")


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def commit() -> str:
    """The commit of this checkout, with a + where files were changed since."""

    def git(*words: str) -> str:
        result = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""

    return (git("rev-parse", "--short", "HEAD") or "unknown") + "+" * bool(git("diff", "HEAD"))


def read_metrics(folder: Path) -> dict[str, float]:
    """The last values in a run's metrics.json; evaluations in percent ("search/mAP")."""
    values: dict[str, float] = {}
    path = folder / "metrics.json"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        values.update(json.loads(line))
    return values


def mean_and_spread(values: list[float]) -> str:
    """"12.3 ± 0.4": mean and standard deviation (n - 1) over the seeds; "" of none."""
    if not values:
        return ""
    mean = f"{np.mean(values):.1f}"
    return f"{mean} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


def write_table(
    path: Path, table: Table, runs: dict[str, list[Run]], missing: dict[str, str], command: str
) -> str:
    """Write the Markdown table of what is finished so far; returns its text.

    Args:
        path: of the file.
        table: what to write.
        runs: row name -> its runs.
        missing: row name -> why it has none.
        command: the one that was given.
    """
    names = [metric.name for metric in table.metrics]
    lines = [
        f"### {table.title}",
        "",
        f"| | {' | '.join(names)} | seeds | paper: {table.paper} |",
        "|---" * (len(names) + 3) + "|",
    ]
    commits = set()
    for row in table.rows:
        finished = [run for run in runs.get(row.name, ()) if run.is_finished]
        commits |= {run.record["commit"] for run in finished}
        found = [read_metrics(run.folder) for run in finished]
        cells = [mean_and_spread([m[c.key] for m in found if c.key in m]) for c in table.metrics]
        paper = " / ".join(f"{v:.1f}" for v in row.paper) or "-"
        number = str(len(found)) if found else missing.get(row.name, "not yet run")
        lines.append(f"| {row.name} | {' | '.join(cells)} | {number} | {paper} |")
    note = f"Mean ± standard deviation over seeds. `{command}`"
    if commits:
        note += f", commit {', '.join(sorted(commits))}"
    text = "\n".join([*lines, "", f"{note}.", ""])
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, text)
    return text


def gpus_of_slot(slot: int, num_gpus: int) -> dict[str, str]:
    """Environment in which a run sees the GPUs of its slot; {} without enough GPUs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else list(map(str, range(torch.cuda.device_count())))
    if len(names) < num_gpus:
        return {}
    own = [names[(slot * num_gpus + k) % len(names)] for k in range(num_gpus)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)}


def execute(wanted: list[Run], jobs: int, num_gpus: int) -> Iterator[RuntimeError | None]:
    """Do what is not finished, and what it starts from; yields after each run: None, or its error.

    The first that can begin does, so that nobody waits for a pre-training who could do another
    run. Where a pre-training fails, what starts from it is left out.
    """
    pending = {}  # by folder, since rows share what they start from
    for run in wanted:
        chain = [run]
        while chain[0].start:
            chain.insert(0, chain[0].start)
        pending |= {r.folder: r for r in chain if not r.is_finished and r.folder not in pending}
    running: dict[Future, int] = {}
    slots = list(range(jobs))
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            ready = [r for r in pending.values() if not r.start or r.start.is_finished]
            for run in ready[: len(slots)]:
                slot = slots.pop(0)
                running[pool.submit(run.execute, num_gpus, slot)] = slot
                del pending[run.folder]
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slots.append(running.pop(future))
                try:
                    yield future.result()
                except RuntimeError as error:
                    yield error


def run_table(table: Table, args: argparse.Namespace) -> int:
    """Do what is missing of a table; returns the number of runs that failed."""
    path = args.output / args.data / f"{table.name}.md"
    command = "python tools/ablation.py " + " ".join(map(_quoted, args.command))
    missing = {
        row.name: "needs --imagenet FILE"
        for row in table.rows
        if row.start == IMAGENET and not args.imagenet
    }
    seeds = range(1, args.seeds + 1)
    runs = {
        row.name: [plan(table, row, seed, args) for seed in seeds]
        for row in table.rows
        if row.name not in missing
    }
    # Seed by seed, so that a table is whole with one seed before the second one begins.
    wanted = [run for of_seed in zip(*runs.values(), strict=True) for run in of_seed]
    for run in wanted:
        run.check()
    failed = 0
    for error in execute(wanted, args.jobs, args.num_gpus):
        if error:
            print(f"failed: {error}", file=sys.stderr, flush=True)
            failed += 1
        write_table(path, table, runs, missing, command)
    print(write_table(path, table, runs, missing, command))
    print(path)
    return failed


def _quoted(word: str) -> str:
    return f'"{word}"' if any(c in word for c in " ()'") or not word else word


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--data", default="Street", help="folder of configs (default: Street)")
    parser.add_argument("--seeds", type=int, default=3, help="runs per row (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--output", type=Path, default=Path("output/ablation"))
    parser.add_argument(
        "--imagenet", type=Path, help="weights for the ImageNet rows and for pre-trainings"
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="of each run (default: 1)")
    parser.add_argument(
        "--pretraining", nargs="*", default=(), metavar="KEY VALUE", help="for what rows start from"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="for every row")
    args = parser.parse_intermixed_args(argv)
    for words in (args.opts, args.pretraining):
        if len(words) % 2:
            parser.error(f"{' '.join(words)}: keys and values have to come in pairs")
    args.opts, args.pretraining = tuple(args.opts), tuple(args.pretraining)
    args.output = args.output.absolute()
    args.command = argv
    return args


def main() -> int:
    args = parse(sys.argv[1:])
    table = load_table(args.table)
    for config in table.configs(args.data):
        if not (ROOT / "configs" / f"{config}.yaml").is_file():
            raise ConfigError(
                f"table {table.name} needs configs/{config}.yaml, which does not exist"
            )
    return min(run_table(table, args), 1)


if __name__ == "__main__":
    run_program(main)
