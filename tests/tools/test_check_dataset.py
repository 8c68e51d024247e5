"""tools/check_dataset.py on drawn data: complete, a subset of PRW, and damaged."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from person_search.data.datasets import register_all
from person_search.data.street import draw_street

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_dataset.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("check_dataset", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    draw_street(root, "tiny", layouts=("prw",))
    return root


@pytest.fixture
def prw(drawn, tmp_path):
    """A copy to damage, which passes for a very small PRW."""
    return shutil.copytree(drawn / "street" / "tiny" / "PRW", tmp_path / "PRW")


def row(output, quantity):
    (line,) = [line for line in output.splitlines() if line.startswith(f"{quantity}  ")]
    return line.split()[len(quantity.split()) :]


def test_data_without_published_counts(tool, drawn, capsys):
    assert tool.main(["street_tiny_test", "--root", str(drawn), "--images"]) == 0
    output = capsys.readouterr().out
    assert row(output, "frames") == ["24", "-", "-"]
    assert "warning" not in output


def test_a_subset_is_a_warning(tool, prw, capsys):
    assert tool.main(["prw", "--root", str(prw)]) == 0
    output = capsys.readouterr().out
    assert "prw_train" in output and "prw_test" in output
    assert row(output, "queries")[1:] == ["2057", "fewer"]
    assert row(output, "frames c1s3") == ["0", "381", "fewer"]
    assert "warning: not the published counts" in output


def test_complete_data(tool, capsys):
    found = dict(tool.EXPECTED["cuhk_sysu_test"])
    assert tool.report("cuhk_sysu_test", found)
    assert row(capsys.readouterr().out, "gallery targets") == ["5447", "5447", "ok"]
    assert not tool.report("cuhk_sysu_test", found | {"boxes": 40872})
    assert row(capsys.readouterr().out, "boxes") == ["40872", "40871", "more"]


def test_per_sequence_counts_sum_up(tool):
    for name in ("prw_train", "prw_test"):
        expected = tool.EXPECTED[name]
        assert sum(n for key, n in expected.items() if "frames c" in key) == expected["frames"]


def test_missing_files_are_an_error_in_either_split(tool, prw, capsys):
    first, *_, last = sorted((prw / "frames").iterdir())
    first.unlink()
    last.unlink()
    (prw / "query_info.txt").write_text("")
    assert tool.main(["prw", "--root", str(prw)]) == 1
    errors = capsys.readouterr().err
    for name in (first.name, last.name):
        assert name in errors


def test_truncated_images_are_named(tool, prw, capsys):
    frames = sorted((prw / "frames").iterdir())
    content = frames[0].read_bytes()
    frames[0].write_bytes(content[: len(content) // 2])
    assert tool.main(["prw", "--root", str(prw)]) == 0  # the header still says the size
    capsys.readouterr()
    assert tool.main(["prw", "--root", str(prw), "--images"]) == 1
    errors = capsys.readouterr().err
    assert str(frames[0]) in errors
    assert str(frames[1]) not in errors


def test_unknown_name(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["prv"])
    assert "no data set prv; test sets are prw_test" in capsys.readouterr().err
