"""tools/benchmark.py gallery: its rows are of the same search, and its recall is a recall."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import benchmark
from benchmarks import gallery

from person_search.errors import PersonSearchError


@pytest.fixture
def run(monkeypatch, capsys):
    """``run(*options)`` -> the rows it prints; in this process, which is faster."""
    monkeypatch.setattr(gallery, "in_fresh_process", lambda function, *args: function(*args))

    def run(*options) -> list[dict]:
        arguments = ["benchmark.py", "gallery", *map(str, options), "--json"]
        monkeypatch.setattr(sys, "argv", arguments)
        benchmark.main()
        return json.loads(capsys.readouterr().out)["rows"]

    return run


def test_a_small_gallery_is_searched_exactly(run):
    pytest.importorskip("lancedb", reason="needs the extra: pip install -e '.[gallery]'")
    exact, lance = run("--sizes", 1500, "--dim", 16, "--queries", 5, "--top-k", 20)
    assert exact.keys() == lance.keys()
    assert (exact["engine"], lance["engine"]) == ("exact", "lance")
    for row in (exact, lance):
        assert row["rows"] == 1500 and row["recall"] == row["narrow recall"] == 1
    assert lance["MB"] > 1500 * 16 * 4 / 1e6
    assert lance["single ratio"] == lance["single ms"] / exact["single ms"]


def test_the_best_are_not_all_of_the_same_identity(tmp_path):
    """The data are hard, or recall would say nothing."""
    arguments = SimpleNamespace(dim=256, persons=20, queries=50)
    gallery.draw(tmp_path, 20_000, arguments)
    rows, queries = (np.load(tmp_path / f"{name}.npy") for name in ("rows", "queries"))
    assert rows.shape == (20_000, 256)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    identities = np.argsort(-(queries @ rows.T))[:, :20] % 1000
    most_common = [np.bincount(row).max() / 20 for row in identities]
    assert 0.5 < np.mean(most_common) < 0.8


def test_recall():
    assert gallery.recall([[1, 2, 3], [9]], np.array([[1, 2], [8, 9]])) == 0.75


def test_pictures_need_a_model(run, tmp_path, monkeypatch):
    with pytest.raises(PersonSearchError, match="--pictures needs --model and --weights"):
        run("--pictures", tmp_path)
