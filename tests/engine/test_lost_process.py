"""A training of several processes ends when one of them is lost, instead of waiting for it."""

import argparse
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from itertools import repeat
from pathlib import Path

import torch
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from person_search.engine import AccumulatingTrainer
from person_search.errors import DatasetError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import train_net  # noqa: E402  (found through the line above)

LIMIT = 600
"""Seconds after which a run counts as hanging. One takes a few."""


class Model(nn.Module):
    """Trains for two steps; then the second process ends as it was told to."""

    def __init__(self, end: str):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.end, self.steps = end, 0

    def forward(self, batch: list[float]) -> dict[str, torch.Tensor]:
        self.steps += 1
        if self.steps == 3 and comm.get_rank() == 1:
            if self.end == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DatasetError("frame 7 is missing")
        return {"loss": self.weight.sum() * sum(batch)}


def train(args: argparse.Namespace) -> None:
    """In the place of ``train_net.main``; without a loss it would go on for ever."""
    torch.set_num_threads(1)
    model = DistributedDataParallel(Model(args.opts[0]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    AccumulatingTrainer(model, repeat([1.0]), optimizer, parts=1).train(0, sys.maxsize)


def outcomes(*lines: list[str]) -> list[tuple[int, str]]:
    """Status and errors of programs that run at the same time, one with each command line."""
    programs = [
        subprocess.Popen(
            [sys.executable, __file__, *line],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,
        )
        for line in lines
    ]
    try:
        errors = [program.communicate(timeout=LIMIT)[1] for program in programs]
        return [(p.returncode, text) for p, text in zip(programs, errors, strict=True)]
    finally:
        for program in programs:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)


def test_the_processes_of_a_machine_end_together():
    ((status, errors),) = outcomes(["--num-gpus", "2", "--dist-url", "auto", "killed"])
    assert status == 1
    assert "process 1 terminated with signal SIGKILL" in errors.splitlines()[-1]


def test_another_machine_notices():
    """Nobody watches over both programs: the connection breaks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    line = ["--num-machines", "2", "--num-gpus", "1", "--dist-url", url]
    ends = outcomes(*([*line, "--machine-rank", str(k), "raises"] for k in range(2)))
    assert all(status != 0 for status, _ in ends)
    assert "Connection closed by peer" in ends[0][1] or "Connection reset" in ends[0][1]
    assert ends[1][1].splitlines()[-1] == "DatasetError: frame 7 is missing"


def test_the_wait_for_a_silent_process_can_be_set(monkeypatch):
    waits = []
    monkeypatch.setattr(train_net, "launch", lambda *_, timeout, **__: waits.append(timeout))
    for line in ([], ["--dist-timeout", "1.5"]):
        train_net.run(train_net.argument_parser().parse_args(line))
    assert waits == [timedelta(minutes=30), timedelta(seconds=90)]


if __name__ == "__main__":
    train_net.main = train
    train_net.run(train_net.argument_parser().parse_args())
