"""A training that ends early says in one line where it stands, and can be resumed."""

import signal
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase
from street_runs import arguments, registered, train_net

from person_search.engine import Trainer


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


class At(HookBase):
    """Does something before an iteration."""

    def __init__(self, iteration: int, action):
        self.iteration, self.action = iteration, action

    def before_step(self) -> None:
        if self.trainer.iter == self.iteration:
            self.action(self.trainer)


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """``run(action, *opts)`` trains with an action before iteration 4 of 6 -> line and status.

    There is a checkpoint after 3 iterations.
    """
    build_hooks = Trainer.build_hooks

    def runner(action, *opts, iteration: int = 4) -> tuple[str, int]:
        args = arguments(
            *("SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 3, "OUTPUT_DIR", tmp_path, *opts),
            *("SOLVER.BASE_LR", 0.0001, "DATASETS.TEST", ()),
        )

        def with_action(trainer: Trainer) -> list[HookBase]:
            return [At(iteration, action), *build_hooks(trainer)]

        with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
            patch.setattr(Trainer, "build_hooks", with_action)
            train_net.run(args)
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        if isinstance(stop.value.code, int):
            return said.err.splitlines()[-1], stop.value.code
        return stop.value.code, 1

    return runner


def check(line: str, folder: Path, reason: str, iteration: int = 4) -> None:
    """What every such line says; and the checkpoint that it names can be read."""
    assert "\n" not in line and reason in line
    assert f"in iteration {iteration}, loss " in line and "pictures " in line
    assert line.count("/frames/c1s1_") + line.count("/frames/c2s1_") == 4
    assert f"--resume goes on from {folder}/model_0000002.pth" in line
    assert torch.load(folder / "model_0000002.pth")["iteration"] == 2


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_its_status(run, tmp_path, number, status):
    before = signal.getsignal(signal.SIGTERM)
    # A shell lets what runs in the background ignore Ctrl-C.
    of_shell = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        line, seen = run(lambda trainer: signal.raise_signal(number))
    finally:
        signal.signal(signal.SIGINT, of_shell)
    assert seen == status and signal.getsignal(signal.SIGTERM) == before
    check(line, tmp_path, "stopped in iteration 4")
    train(tmp_path, resume=True)
    assert torch.load(tmp_path / "model_final.pth")["iteration"] == 5


def test_a_signal_that_a_loader_s_process_gets_first(run, tmp_path):
    def fail(trainer: Trainer) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")

    line, status = run(fail)
    assert status == 143 and line.startswith("stopped in iteration 4")


def test_a_loss_that_is_not_finite_names_loss_and_pictures(run, tmp_path):
    def harm(trainer: Trainer) -> None:
        with torch.no_grad():
            trainer.model.roi_heads.reid.head.classifier.weight.fill_(float("inf"))

    line, _ = run(harm)
    check(line, tmp_path, "TrainingError: the training diverged: loss_id is nan")
    assert "SOLVER.BASE_LR" in line


def test_weights_that_are_not_finite_are_not_saved(run, tmp_path):
    """The last step's gradients were not: its loss was, and the checkpoint comes next."""

    def harm(trainer: Trainer) -> None:
        weight = trainer.model.roi_heads.reid.head.classifier.weight
        weight.register_hook(lambda gradient: gradient * float("nan"))

    line, _ = run(harm, iteration=5)
    check(line, tmp_path, "diverged: model_0000005.pth is not written", iteration=5)
    assert not (tmp_path / "model_0000005.pth.tmp").exists()


def test_a_full_disk_names_the_file(run, tmp_path, monkeypatch):
    def full(content, file):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("unexpected pos 704 vs 598") from error

    with monkeypatch.context() as patch:
        line, _ = run(lambda trainer: patch.setattr(torch, "save", full), iteration=5)
    check(line, tmp_path, f"No space left on device: '{tmp_path}/model_0000005.pth'", iteration=5)
    assert "Free space" in line


def test_full_memory_says_what_takes_less(run, tmp_path):
    def grab(trainer: Trainer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    line, _ = run(grab)
    check(line, tmp_path, "CUDA out of memory")
    assert "SOLVER.ACCUMULATE" in line


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def bug(self):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Trainer, "run_step", bug)
    args = arguments("SOLVER.MAX_ITER", 2, "OUTPUT_DIR", tmp_path, "DATASETS.TEST", ())
    with pytest.raises(ZeroDivisionError, match="a bug"):
        train_net.run(args)
    assert "Traceback" in (tmp_path / "log.txt").read_text()


# ---------------------------------------------------------------------------- a run that has ended


@pytest.fixture(scope="module")
def finished(tmp_path_factory, street) -> Path:
    """Six iterations, with checkpoints after three and at the end."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder)
    return folder


def train(folder: Path, *opts, resume: bool = False) -> None:
    train_net.main(
        arguments(
            *("SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 3, "OUTPUT_DIR", folder),
            *("DATASETS.TEST", (), *opts),
            resume=resume,
        )
    )


def copied(finished: Path, folder: Path) -> dict:
    """Into ``folder``; what model_final.pth held."""
    for path in finished.glob("*"):
        if path.name == "last_checkpoint" or path.suffix == ".pth":
            (folder / path.name).write_bytes(path.read_bytes())
    return torch.load(finished / "model_final.pth")["model"]


@pytest.mark.parametrize("damage", ["missing", "truncated", "all of the last iteration"])
def test_resuming_a_finished_run_writes_its_final_checkpoint_anew(finished, tmp_path, damage):
    whole = copied(finished, tmp_path)
    final = tmp_path / "model_final.pth"
    if damage == "missing":
        final.unlink()
    else:
        final.write_bytes(final.read_bytes()[:1000])
    if damage == "all of the last iteration":
        (tmp_path / "model_0000005.pth").write_bytes(b"")
    train(tmp_path, resume=True)
    again = torch.load(final)
    assert again["iteration"] == 5
    assert all(torch.equal(v, whole[k]) for k, v in again["model"].items())
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_a_finished_run_that_is_made_longer_keeps_what_it_had(finished, tmp_path):
    whole = copied(finished, tmp_path)
    (tmp_path / "model_0000005.pth").unlink()
    train(tmp_path, "SOLVER.MAX_ITER", 8, resume=True)
    kept = torch.load(tmp_path / "model_0000005.pth")["model"]
    assert all(torch.equal(v, whole[k]) for k, v in kept.items())
    assert torch.load(tmp_path / "model_final.pth")["iteration"] == 7


def test_a_new_run_in_the_folder_of_another_says_so(finished, tmp_path):
    copied(finished, tmp_path)
    train(tmp_path, "SOLVER.MAX_ITER", 1)
    text = (tmp_path / "log.txt").read_text()
    assert f"{tmp_path}/model_final.pth is of an earlier run" in text
