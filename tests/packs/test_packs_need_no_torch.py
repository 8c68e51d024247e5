"""Packs run where torch and detectron2 cannot be imported."""

import subprocess
import sys

from tiny_packs import one_step, two_step

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "detectron2", "fvcore"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
"""


def run_without_torch(code: str, *arguments) -> str:
    """The output of a program."""
    program = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_rooms_of_packs_need_no_torch():
    code = "from person_search import packs\nprint(packs.RECOMMENDED in packs.ready())"
    assert run_without_torch(code) == "True\n"


def test_both_kinds_of_packs_run_without_torch(tmp_path):
    two_step(tmp_path / "two"), one_step(tmp_path / "one")
    code = """
import numpy as np
from person_search import packs
picture = np.zeros((60, 80, 3), np.uint8)
picture[:30, :40, 2] = 255
for pack in sys.argv[1:]:
    searcher = packs.open_pack(pack)
    (found,) = searcher.detect([picture])
    print(len(found), searcher.embed(picture, found.boxes).shape)
"""
    assert run_without_torch(code, tmp_path / "two", tmp_path / "one") == "1 (1, 3)\n2 (2, 3)\n"


def test_help_needs_no_model_at_all():
    code = "from person_search.gallery.cli import main\nmain(['--help'])"
    assert "models" in run_without_torch(code)
