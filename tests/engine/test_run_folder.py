"""Whatever happens while a checkpoint is written, the run can be resumed."""

import builtins
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from person_search.engine import PersonSearchCheckpointer
from person_search.engine.run_folder import RunFolder
from person_search.errors import WeightsError

KILLED = 9


class Model(nn.Module):
    """Its weight is the number of the checkpoint that it comes from."""

    def __init__(self, value: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1000,), float(value)))


def save(folder: Path, number: int, name: str | None = None) -> None:
    checkpointer = PersonSearchCheckpointer(Model(number), str(folder))
    checkpointer.save(name or f"model_{number:07d}", iteration=number)


def resumed(folder: Path) -> int:
    """The number of the checkpoint that a run goes on from."""
    model = Model()
    rest = PersonSearchCheckpointer(model, str(folder)).resume_or_load("", resume=True)
    values = model.weight.unique().tolist()
    assert values == [rest["iteration"]]
    return rest["iteration"]


def in_child(action: Callable[[], None]) -> int:
    """Run it in a process of its own; the process's status, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except OSError:
            os._exit(3)
        except BaseException:
            os._exit(4)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


SYSTEM_CALLS = ("open", "fsync", "replace", "unlink")
"""What writing a checkpoint asks of the system, beside the bytes themselves."""


def kill_at(number: int, monkeypatch) -> None:
    """End the process, as SIGKILL does, at its n-th call that could change the folder."""
    count = 0

    def counted(call):
        def replacement(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                os._exit(KILLED)
            return call(*args, **kwargs)

        return replacement

    monkeypatch.setattr(builtins, "open", counted(open))
    for name in SYSTEM_CALLS[1:]:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("over", [False, True])
def test_a_kill_at_any_call_of_the_system_leaves_a_run(tmp_path, monkeypatch, over):
    """``over``: the file is there already, as model_final.pth is of a run that is made longer."""
    name = "model_final" if over else None
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        save(folder, 1, name)

        def action():
            kill_at(number, monkeypatch)  # noqa: B023
            save(folder, 2, name)  # noqa: B023

        status = in_child(action)
        assert status in (0, KILLED)
        assert resumed(folder) in ((1, 2) if status else (2,))
        save(folder, 3, name)
        assert resumed(folder) == 3
        if status == 0:
            break
    assert number > len(SYSTEM_CALLS)  # it was killed at some, and then there were no more


SIZES = [0, 1, 63, 64, 1000, 2000, 4000, 4200, 4500]
"""Bytes after which a file cannot grow: from none up to just below a checkpoint's size."""


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "full disk"])
@pytest.mark.parametrize("size", SIZES)
def test_an_end_at_any_byte_leaves_the_run_before(tmp_path, size, killed):
    save(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert max(SIZES) < len(before["model_0000001.pth"])

    def action():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if killed else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        save(tmp_path, 2)

    assert in_child(action) == (-signal.SIGXFSZ if killed else 3)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {k: v for k, v in after.items() if not k.endswith(".tmp")} == before
    assert killed or after.keys() == before.keys()
    assert resumed(tmp_path) == 1
    save(tmp_path, 2)
    assert resumed(tmp_path) == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_the_error_of_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(content, file):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("unexpected pos 704 vs 598") from error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left on device: .*model_final.pth"):
        RunFolder(tmp_path).write("model_final.pth", {})
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------- broken files


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("last", ["model_final.pth", "", "nowhere.pth", "../../etc/passwd", None])
def test_the_newest_checkpoint_that_can_be_read_is_taken(tmp_path, last, caplog):
    save(tmp_path, 4)
    save(tmp_path, 9)
    save(tmp_path, 12, "model_final")
    if last is None:
        (tmp_path / "last_checkpoint").unlink()
    else:
        (tmp_path / "last_checkpoint").write_text(last)
    assert resumed(tmp_path) == 12
    cut(tmp_path / "model_final.pth")
    assert resumed(tmp_path) == 9
    assert "model_final.pth is not a readable weights file" in caplog.text
    assert "resumed from" in caplog.text and "model_0000009.pth" in caplog.text
    (tmp_path / "model_0000009.pth").write_bytes(b"")
    assert resumed(tmp_path) == 4
    cut(tmp_path / "model_0000004.pth")
    with pytest.raises(WeightsError, match="none of its checkpoints can be read"):
        resumed(tmp_path)


def test_an_older_final_checkpoint_is_not_the_newest(tmp_path):
    """A run of 10 iterations that was made longer, and stopped."""
    save(tmp_path, 9, "model_final")
    for number in (14, 19):
        save(tmp_path, number)
    cut(tmp_path / "model_0000019.pth")
    assert resumed(tmp_path) == 14


def test_weights_that_are_not_finite_are_neither_saved_nor_resumed_from(tmp_path):
    save(tmp_path, 4)
    diverged = Model(float("nan"))
    with pytest.raises(FloatingPointError, match="model_0000009.pth is not written"):
        PersonSearchCheckpointer(diverged, str(tmp_path)).save("model_0000009", iteration=9)
    assert {path.name for path in tmp_path.iterdir()} == {"last_checkpoint", "model_0000004.pth"}
    torch.save({"model": diverged.state_dict(), "iteration": 9}, tmp_path / "model_0000009.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    assert resumed(tmp_path) == 4
    with pytest.raises(WeightsError, match="not finite .*: the training that wrote it had"):
        PersonSearchCheckpointer(Model()).load(str(tmp_path / "model_0000009.pth"))


def test_a_final_checkpoint_is_kept_under_its_iteration(tmp_path):
    folder = RunFolder(tmp_path)
    folder.keep_final(9)
    assert list(tmp_path.iterdir()) == []
    save(tmp_path, 9, "model_final")
    folder.keep_final(9)
    save(tmp_path, 19, "model_final")
    folder.keep_final(9)
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    assert resumed(tmp_path) == 9
