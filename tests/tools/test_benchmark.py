"""tools/benchmark.py: its figures compare like with like."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import benchmark
from benchmarks import evaluator, synthetic

from person_search.evaluation import evaluate_detection

SMALL = {
    "prw": synthetic.Size(60, 250, 160, 8, 20, 300, None, 6),
    "cuhk100": synthetic.Size(60, 250, 100, 20, 20, 300, 30, 0),
}


@pytest.mark.parametrize("protocol", SMALL)
def test_evaluator_and_loop_agree(protocol, monkeypatch, capsys):
    for name, size in SMALL.items():
        monkeypatch.setitem(synthetic.SIZES, name, size)
    args = ["evaluator", "--protocol", protocol, "--dim", "16", "--json"]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *args])
    benchmark.main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["largest_ap_difference"] < 1e-6
    assert figures["queries"] == figures["loop_queries"] == 20


def test_loop_detection_agrees():
    results = synthetic.synthetic_results(SMALL["prw"], dim=4)
    ours = evaluate_detection(results)
    np.testing.assert_allclose((ours.recall, ours.ap), evaluator.loop_detection(results))
