"""Files are written whole or not at all, and a killed process leaves nothing for good; arrays."""

import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from person_search.errors import PersonSearchError
from person_search.files import atomic_write, optional_module, read_npz

KILLED = """
import os, signal, sys
from person_search.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_name_appears_with_the_whole_content(tmp_path):
    path = tmp_path / "results.npz"
    path.write_bytes(b"old")
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == tmp_path and not temporary.name.startswith(".")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "results.npz"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_by_the_next_writing(tmp_path):
    path = tmp_path / "crops_[1].npy"  # a name that a pattern would misread
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    mine = tmp_path / leftover.name.replace(path.name, "other.npy")
    running = tmp_path / leftover.name.replace(leftover.stem.rpartition("-")[2], str(os.getppid()))
    mine.write_bytes(b"of another file")
    running.write_bytes(b"of a process that is still writing")
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, mine, running])


def test_a_missing_package_names_the_extra_that_brings_it():
    with pytest.raises(PersonSearchError, match=r"no_such_package: pip install .*\[gallery\]"):
        optional_module("no_such_package.part", "gallery")


def test_arrays_are_read_as_they_were_written(tmp_path):
    arrays = {"a": np.eye(2), "text": np.array(["Jürgen", ""]), "none": np.zeros((0, 3)), "b": True}
    arrays["big-endian"] = np.array(["x", "😀"], ">U1")
    np.savez(tmp_path / "x.npz", **arrays)
    found = read_npz(tmp_path / "x.npz")
    assert found.keys() == arrays.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, arrays[name])


def test_what_is_no_array_of_plain_values_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array(["ab"]))
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"no array")
    with pytest.raises(ValueError, match=r"not a readable \.npz without pickles \(a is no array"):
        read_npz(path)
    path.write_bytes(content[:-30])
    with pytest.raises(ValueError, match="without pickles"):
        read_npz(path)
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(ValueError, match="without pickles"):
        read_npz(path)
    np.savez(path, a=np.array([0x110000], np.uint32).view("U1"))  # beyond the last letter
    with pytest.raises(ValueError, match="a holds no letters"):
        read_npz(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_npz(path)
