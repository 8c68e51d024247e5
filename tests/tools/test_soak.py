"""tools/soak.py: what it says of a few pictures. Memory itself is not tested."""

import mmap
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import soak  # noqa: E402  (found through the line above)

pytest.importorskip("lancedb", reason="needs LanceDB: pip install -e '.[gallery]'")


def test_the_slope_is_that_of_the_second_half(monkeypatch, capsys):
    """Of 300, 310, ... MB after every two pictures: 10 MB for two are 5000 kB a frame."""
    memory = iter([300.0] * 5 + [300.0 + 10 * i for i in range(5)])
    monkeypatch.setattr(soak, "resident_mb", lambda: next(memory))
    assert soak.main(["--frames", "20"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [re.findall(r"[\d.]+", line) for line in lines[-2:]] == [
        ["18", "330.0"],
        ["20", "340.0"],
    ]
    assert len(lines) == 10 and last == "second half: 5000.00 kB a frame"


def test_memory_is_that_of_this_process():
    before = soak.resident_mb()
    with mmap.mmap(-1, 50_000_000) as fresh:  # pages of its own, whatever was freed before
        fresh.write(b"x" * len(fresh))
        assert 40 < soak.resident_mb() - before < 200
