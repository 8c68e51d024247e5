"""tools/check_dataset.py on drawn data: complete, a subset of PRW, and damaged."""

import importlib.util
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from looks_alike import (
    Shot,
    crowdhuman_row,
    noise,
    write_crowdhuman,
    write_luperson_lmdb,
    write_market1501,
)

from person_search.data.readers import register_all
from person_search.street import draw_street

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
    found = dict(tool.expected_counts("cuhk_sysu_test"))
    assert tool.report("cuhk_sysu_test", found)
    assert row(capsys.readouterr().out, "gallery targets") == ["5447", "5447", "ok"]
    assert not tool.report("cuhk_sysu_test", found | {"boxes": 40872})
    assert row(capsys.readouterr().out, "boxes") == ["40872", "40871", "more"]


def test_per_sequence_counts_sum_up(tool):
    for name in ("prw_train", "prw_test"):
        expected = tool.expected_counts(name)
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


def test_a_reid_set(tool, tmp_path, capsys):
    pairs = {"bounding_box_train": [(1, 1), (2, 6)], "query": [(3, 1)]}
    pairs["bounding_box_test"] = [(0, 2), (3, 2), (-1, 2)]
    shots = {k: [Shot(*pair, noise()) for pair in of] for k, of in pairs.items()}
    root = write_market1501(tmp_path / "market1501", shots)
    assert tool.main(["market1501", "--root", str(tmp_path), "--images"]) == 0
    train, test = capsys.readouterr().out.split("market1501_test")
    assert row(train, "pictures") == ["2", "12936", "fewer"]
    assert row(train, "camera 6") == ["1", "-", "-"]
    assert row(test, "queries") == ["1", "3368", "fewer"]
    assert row(test, "gallery") == ["2", "15913", "fewer"]
    assert row(test, "persons") == ["2", "751", "fewer"]
    path = next((root / "query").iterdir())
    path.write_bytes(path.read_bytes()[:300])
    assert tool.main(["market1501", "--root", str(tmp_path), "--images"]) == 1
    assert str(path) in capsys.readouterr().err


def test_a_detection_set(tool, tmp_path, capsys):
    rows = [crowdhuman_row([1, 1, 5, 9]), crowdhuman_row([1, 1, 5, 9], tag="mask")]
    for split in ("train", "val"):
        root = write_crowdhuman(tmp_path / "CrowdHuman", split, {"a": rows, "b": []})
    assert tool.main(["crowdhuman", "--root", str(root)]) == 0
    train, val = capsys.readouterr().out.split("crowdhuman_val")
    assert row(train, "ignore regions") == ["1", "99227", "fewer"]
    assert row(val, "boxes") == ["1", "99481", "fewer"]
    assert row(val, "ignore regions") == ["1", "-", "-"]


@pytest.mark.skipif(find_spec("lmdb") is None, reason="needs lmdb: pip install -e '.[datasets]'")
def test_pictures_inside_an_lmdb(tool, tmp_path, capsys):
    write_luperson_lmdb(tmp_path / "LUP", {"1_a": b"no picture"})
    assert tool.main(["luperson", "--root", str(tmp_path)]) == 0
    assert row(capsys.readouterr().out, "pictures") == ["1", "4180243", "fewer"]
    assert tool.main(["luperson", "--root", str(tmp_path), "--images"]) == 1
    assert "lmdb!1_a" in capsys.readouterr().err


def test_unknown_name(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["prv"])
    assert "no data set prv; there are prw, cuhk_sysu, " in capsys.readouterr().err
