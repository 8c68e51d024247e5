"""The hooks, at a trainer that is nothing but the attributes they read."""

import io
import sys
from types import SimpleNamespace

import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from person_search.engine import ProgressBar, ReproducibleSteps


def random_number_of_step(seed: int, iteration: int) -> float:
    hook = ReproducibleSteps(seed)
    hook.trainer = SimpleNamespace(iter=iteration)
    hook.before_step()
    return torch.rand(()).item()


def test_a_step_draws_the_same_numbers_whatever_was_drawn_before():
    expected = random_number_of_step(seed=1, iteration=7)
    torch.manual_seed(99)
    torch.rand(1000)
    assert random_number_of_step(seed=1, iteration=7) == expected


def test_steps_seeds_and_ranks_draw_different_numbers(monkeypatch):
    numbers = [random_number_of_step(seed, i) for seed in (1, 2) for i in range(10)]
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    numbers += [random_number_of_step(1, i) for i in range(10)]
    assert len(set(numbers)) == 30


def test_the_loader_is_told_where_to_start():
    batches = SimpleNamespace(start=0)
    loader = SimpleNamespace(batch_sampler=batches)
    hook = ReproducibleSteps(seed=1)
    hook.trainer = SimpleNamespace(start_iter=40, _trainer=SimpleNamespace(data_loader=loader))
    hook.before_train()
    assert batches.start == 40


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_progress_bar(losses: list[float], first: int = 0) -> None:
    hook = ProgressBar()
    with EventStorage(first) as storage:
        hook.trainer = SimpleNamespace(
            start_iter=first, max_iter=first + len(losses), iter=first, storage=storage
        )
        hook.before_train()
        for loss in losses:
            storage.put_scalar("total_loss", loss)
            hook.after_step()
            storage.step()
            hook.trainer.iter += 1
        hook.after_train()


def test_the_bar_shows_iterations_and_loss_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    run_progress_bar([1.25] * 5, first=20)
    assert "25/25" in sys.stderr.getvalue()
    assert "loss=1.250" in sys.stderr.getvalue()


def test_the_bar_is_silent_in_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run_progress_bar([1.25] * 5)
    assert sys.stderr.getvalue() == ""


def test_the_bar_survives_a_step_without_losses(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    hook = ProgressBar()
    with EventStorage() as storage:
        hook.trainer = SimpleNamespace(start_iter=0, max_iter=1, iter=0, storage=storage)
        hook.before_train()
        hook.after_step()
        hook.after_train()
    assert "1/1" in sys.stderr.getvalue()
