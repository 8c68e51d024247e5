"""tools/fuzz.py: every kind of failure is seen, counted and kept, and sound files stay sound."""

import io
import os
import random
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import fuzz  # noqa: E402  (found through the line above)
from fuzzing.mutations import mutate_bytes, mutate_member, mutate_text  # noqa: E402
from fuzzing.target import Target  # noqa: E402
from fuzzing.targets import TARGETS  # noqa: E402

from person_search.errors import DatasetError  # noqa: E402


def write(folder: Path) -> None:
    for name in ("read", "refused", "error", "silent", "crash", "slow"):
        (folder / name).mkdir()
        (folder / name / "x.bin").write_bytes(b"sound")


def read(folder: Path, path: Path) -> None:
    """What the name of the folder says, unless the file is sound."""
    (folder / "left behind").touch()
    if path.read_bytes() == b"sound":
        return
    sound = [p for p in folder.glob("*/x.bin") if p.read_bytes() == b"sound"]
    assert len(sound) == 5  # of the six, one alone is a mutant
    name = path.parent.name
    if name == "refused":
        raise DatasetError("it is damaged")
    if name == "error":
        raise IndexError("a slip")
    if name == "silent":
        raise DatasetError(" ")
    if name == "crash":
        os.abort()
    if name == "slow":
        time.sleep(60)


def test_what_came_of_each_mutant_is_counted_and_failures_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "PATIENCE", 0.5)
    found = fuzz.fuzz("kinds", Target(write, read, "*/x.bin"), 0, 30, 60, tmp_path)
    failures = {name: number for name, number in found.items() if name not in fuzz.GOOD}
    assert sum(found.values()) == 30 and found["read"] and found["refused"]
    assert failures.keys() == {
        *("IndexError: a slip", "an error that says nothing"),
        *("crash, status -6", "not read within 0.5 s"),
    }
    kept = Counter(path.name.split("-")[3] for path in tmp_path.iterdir())
    assert kept == {
        "error": failures["IndexError: a slip"],
        "silent": failures["an error that says nothing"],
        "crash": failures["crash, status -6"],
        "slow": failures["not read within 0.5 s"],
    }
    assert all(path.read_bytes() != b"sound" for path in tmp_path.iterdir())


def test_time_counts_from_the_first_mutant(tmp_path):
    """The start, in which libraries are loaded, takes longer than the time that is given."""
    found = fuzz.fuzz("results", TARGETS["results"], 0, 10**9, 0.5, tmp_path)
    assert sum(found.values()) > 5 and set(found) <= set(fuzz.GOOD)


def test_a_seed_gives_the_same_mutants():
    for change in (mutate_bytes, mutate_text):
        mutants = [change(b'{"a": 1, "b": [2.5]}' * 9, random.Random(seed)) for seed in (1, 1, 2)]
        assert mutants[0] == mutants[1] != mutants[2]


def test_members_of_a_zip_file_change_under_right_checksums():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"a" * 100)
        archive.writestr("b", b"b" * 100)
    seen = set()
    for seed in range(40):
        with zipfile.ZipFile(
            io.BytesIO(mutate_member(file.getvalue(), random.Random(seed)))
        ) as new:
            assert new.testzip() is None
            content = {name: new.read(name) for name in new.namelist()}
        assert (content.get("a") == b"a" * 100) or (content.get("b") == b"b" * 100)
        seen.add(len(content))
    assert seen == {1, 2}


def test_another_target_is_refused(capsys):
    with pytest.raises(SystemExit):
        fuzz.main(["nothing"])
    assert "unknown target nothing: choose from pictures" in capsys.readouterr().err
