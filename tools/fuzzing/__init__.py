"""What ``tools/fuzz.py`` runs: mutations, and for each kind of file a target.

The sound files are those that the tests write, so the tests have to be beside the tools.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"

for folder in (TESTS, TESTS / "importing", TESTS / "evaluation"):
    sys.path.append(str(folder))
