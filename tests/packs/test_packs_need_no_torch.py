"""Packs run where torch and detectron2 cannot be imported."""

import subprocess
import sys

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "detectron2", "fvcore"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
"""


def run_without_torch(code: str) -> str:
    """The output of a program."""
    program = [sys.executable, "-c", BLOCKED + code]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_rooms_of_packs_need_no_torch():
    code = "from person_search import packs\nprint(packs.RECOMMENDED in packs.ready())"
    assert run_without_torch(code) == "True\n"
