"""tools/evaluate_saved.py, run as its users run it."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from person_search.evaluation import SearchResults

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / ".." / "shared" / "data" / "golden"

spec = importlib.util.spec_from_file_location(
    "evaluate_saved", ROOT / "tools" / "evaluate_saved.py"
)
evaluate_saved = importlib.util.module_from_spec(spec)
spec.loader.exec_module(evaluate_saved)

needs_golden = pytest.mark.skipif(
    not GOLDEN.exists(), reason="needs the research data beside the repository"
)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Runs the tool; returns exit status, standard output and standard error."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["evaluate_saved.py", *map(str, args)])
        status = evaluate_saved.main()
        return status, *capsys.readouterr()

    return run


@needs_golden
@pytest.mark.parametrize("name", ["prw_small_s0", "cuhk_small_s1"])
def test_json_has_the_published_numbers(tool, name):
    golden = np.load(GOLDEN / f"{name}.npz")
    status, text, _ = tool(GOLDEN / f"{name}.npz", "--json", "-")
    assert status == 0
    report = json.loads(text)
    modes = {key[4:-4] for key in golden.files if key.endswith("_mAP")}
    assert set(report["search"]) == set(report["protocols"]) == modes
    for mode in modes:
        values = report["search"][mode]
        assert values["mAP"] == pytest.approx(golden[f"out_{mode}_mAP"], abs=1e-9)
        top = [values["top1"], values["top5"], values["top10"]]
        assert top == pytest.approx(golden[f"out_{mode}_top"], abs=1e-9)
    for section, key in (("detection", "out_det"), ("detection_gt", "out_det_gt")):
        for (det, iou, labeled), (recall, ap) in zip(
            golden["out_det_params"], golden[key], strict=True
        ):
            values = report[section][f"{det:g},{iou:g},{bool(labeled)}"]
            assert values["recall"] == pytest.approx(recall, abs=1e-9)
            assert values["AP"] == pytest.approx(ap, abs=1e-9)


@needs_golden
def test_undefined_is_null_and_files_are_written_whole(tool, tmp_path):
    arrays = dict(np.load(GOLDEN / "prw_small_s0.npz"))
    arrays["query_ids"] = arrays["query_ids"] + 100_000  # persons that no frame holds
    np.savez(tmp_path / "in.npz", **arrays)
    status, text, _ = tool(tmp_path / "in.npz", "--json", tmp_path / "out.json")
    assert status == 0 and text == ""
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["search"]["plain"]["mAP"] is None
    assert report["protocols"]["plain"]["n_undefined"] == 20
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.npz", "out.json"]


@needs_golden
def test_conventions_differ_where_a_list_is_odd(tool, tmp_path):
    arrays = dict(np.load(GOLDEN / "cuhk_small_s0.npz"))
    start = arrays["gal_offsets"][0]
    row = start + np.flatnonzero(arrays["gal_has_gt"][start:])[0]
    empty = start + np.flatnonzero(~arrays["gal_has_gt"][start:])[0]
    for name in ("gal_frames", "gal_has_gt", "gal_gt_xywh"):
        arrays[name][empty] = arrays[name][row]  # the frame is now listed twice
    np.savez(tmp_path / "odd.npz", **arrays)
    values = {}
    for conventions in ("reference", "corrected"):
        _, text, _ = tool(tmp_path / "odd.npz", "--json", "-", "--conventions", conventions)
        values[conventions] = json.loads(text)["search"]["gt"]["mAP"]
    assert values["corrected"] > values["reference"]
    _, text, _ = tool(tmp_path / "odd.npz", "--json", "-")
    assert json.loads(text)["search"]["gt"]["mAP"] == values["reference"]


@needs_golden
def test_table_names_the_protocol(tool):
    status, text, _ = tool(GOLDEN / "prw_small_s0.npz")
    assert status == 0
    protocol = "all frames but the query's own; 59 frames"
    for words in (protocol, "score >= 0.2", "CBGM k1=30 k2=4", "AP COCO"):
        assert words in text


@needs_golden
def test_adapted_modes_say_so_and_leave_the_others_alone(tool):
    plain = json.loads(tool(GOLDEN / "prw_small_s0.npz", "--json", "-")[1])
    report = json.loads(tool(GOLDEN / "prw_small_s0.npz", "--json", "-", "--adapt")[1])
    modes = set(plain["search"])
    assert set(report["search"]) == modes | {f"{mode}_adapted" for mode in modes}
    for mode in modes:
        assert report["search"][mode] == plain["search"][mode]
        assert report["protocols"][mode]["adapted"] is None
        assert "no labels" in report["protocols"][f"{mode}_adapted"]["adapted"]


@needs_golden
@pytest.mark.parametrize("sweep", ["scores", "counts", "best"])
@pytest.mark.parametrize("protocol", ["authors", "search"])
def test_curves_over_boxes_per_image(tool, tmp_path, sweep, protocol):
    target = tmp_path / "curve.png"
    options = ("--boxes-per-image", target, "--sweep", sweep, "--sweep-protocol", protocol)
    status, text, _ = tool(GOLDEN / "prw_small_s0.npz", *options)
    assert status == 0 and target.read_bytes().startswith(b"\x89PNG")
    places = [line[:6].strip() for line in text.splitlines()[1:5]]
    assert places == ["best", "at 3", "at 5", "at 10"]
    assert "PRW as its authors evaluate it" in text or protocol == "search"


@needs_golden
def test_only_what_the_arrays_allow(tool, tmp_path):
    arrays = dict(np.load(GOLDEN / "prw_small_s0.npz"))
    arrays["frame_cam"] = np.full_like(arrays["frame_cam"], -1)
    kept = {k: v for k, v in arrays.items() if not k.startswith(("qctx", "gt_embs", "out_"))}
    np.savez(tmp_path / "few.npz", **kept)
    _, text, _ = tool(tmp_path / "few.npz", "--json", "-")
    assert set(json.loads(text)["search"]) == {"plain", "thr02"}


def test_score_weighting_is_for_files_that_hold_unit_embeddings(tool, tmp_path):
    results = SearchResults(
        frame_names=np.array(["a", "b"]),
        frame_cam=np.array([1, 2]),
        gt_offsets=np.array([0, 1, 1]),
        gt_boxes=np.array([[0.0, 0, 50, 100]]),
        gt_ids=np.array([3]),
        det_offsets=np.array([0, 1, 2]),
        dets=np.array([[0.0, 0, 50, 100, 0.9], [0, 0, 50, 100, 0.6]]),
        det_embs=np.array([[0.8], [0.9]]),
        query_frames=np.array(["elsewhere"]),
        query_frame_index=np.array([-1]),
        query_boxes=np.array([[0.0, 0, 50, 100]]),
        query_ids=np.array([3]),
        query_cam=np.array([3]),
        query_embs=np.array([[1.0]]),
    )
    results.save(tmp_path / "own.npz")
    plain = json.loads(tool(tmp_path / "own.npz", "--json", "-")[1])
    weighted = json.loads(tool(tmp_path / "own.npz", "--json", "-", "--score-weighting")[1])
    assert (plain["search"]["plain"]["mAP"], weighted["search"]["plain"]["mAP"]) == (0.5, 1.0)
    assert weighted["protocols"]["plain"]["score_weighting"] is True


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not really", b"\x93NUMPY"])
def test_errors_are_one_line(tool, tmp_path, content):
    path = tmp_path / "bad.npz"
    if content is not None:
        path.write_bytes(content)
    status, text, error = tool(path, "--json", "-")
    assert status == 2 and text == ""
    assert error.count("\n") == 1 and str(path) in error
