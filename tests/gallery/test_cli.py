"""The command person-search, as users give it: what it prints, writes, and says to mistakes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from street_runs import registered

from person_search.evaluation import open_set
from person_search.gallery.cli import main
from person_search.gallery.engines import lance

pytest.importorskip("lancedb", reason="needs the extra: pip install -e '.[gallery]'")


@pytest.fixture(scope="module")
def model(tiny) -> list[str]:
    """The options that name the model."""
    named = ["--model", tiny.config, "--weights", tiny.weights, "--device", "cpu"]
    return [*named, "--opts", *tiny.opts]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, street_frames, model, _loggers) -> tuple[str, Path]:
    """A gallery of six pictures of two cameras, and their folder."""
    root = tmp_path_factory.mktemp("indexed")
    for i, path in enumerate(street_frames[:6]):
        (root / f"cam{i % 2}").mkdir(exist_ok=True)
        shutil.copy(path, root / f"cam{i % 2}" / f"{i}.jpg")
    gallery = str(root / "gallery")
    sources = [str(root / "cam0"), str(root / "cam1" / "*.jpg")]
    assert main(["index", *sources, "--gallery", gallery, "--batch-size", "2", *model]) == 0
    return gallery, root


@pytest.fixture
def gallery(indexed, tmp_path) -> tuple[str, Path]:
    """A copy of it, to be changed."""
    shutil.copytree(indexed[0], tmp_path / "gallery")
    return str(tmp_path / "gallery"), indexed[1]


@pytest.fixture
def run(capsys):
    """``run(*arguments)`` -> what is printed."""

    def run(*arguments) -> str:
        capsys.readouterr()
        assert main([str(a) for a in arguments]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def failure(capsys):
    """``failure(*arguments)`` -> the one line that a command ends with."""

    def failure(*arguments) -> str:
        capsys.readouterr()
        assert main([str(a) for a in arguments]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return failure


def search(run, indexed, *arguments) -> list[dict]:
    found = json.loads(
        run("search", *arguments, "--gallery", indexed[0], "--device", "cpu", "--json")
    )
    assert found["gallery"] == indexed[0]
    return found["searches"]


BOX = "40,30,50,120"


def test_index_goes_on_where_it_was(run, gallery, street_frames, folder, capsys):
    uri, root = gallery
    out = run("index", root / "cam0", "--gallery", uri, "--device", "cpu")
    assert out.startswith("0 persons in 0 frames of 0 files; 3 files were there already\n")
    assert out.endswith("\nthe gallery holds 18 persons\n")
    shutil.copy(street_frames[7], folder / "Füße 人.jpg")
    (folder / "broken.jpg").touch()
    capsys.readouterr()
    assert main(["index", str(folder), "--gallery", uri, "--device", "cpu"]) == 1  # not all
    out = capsys.readouterr().out
    assert out.startswith("3 persons in 1 frames of 1 files; 0 files were there already\n")
    assert "1 files could not be read, or not to their ends:\n" in out
    assert "broken.jpg is not a readable image: " in out
    assert out.endswith("\nthe gallery holds 21 persons\n")


def test_search_as_a_table(run, indexed):
    query = indexed[1] / "cam0" / "2.jpg"
    out = run("search", query, "--box", BOX, "--gallery", indexed[0], "--device", "cpu")
    lines = out.splitlines()
    assert lines[0] == f"query: {query} [{BOX}]"
    assert lines[1].split() == ["similarity", "camera", "time", "at", "picture", "x,y,w,h"]
    ranks = [line.split()[0] for line in lines[3:]]
    assert ranks == ["1", "2", "3", "4", "5"]  # one of each frame but its own


def test_search_as_json(run, indexed):
    query = indexed[1] / "cam0" / "2.jpg"
    (found,) = search(run, indexed, query, "--box", BOX, "--top-k", 3)
    assert found["queries"] == [{"picture": str(query), "seconds": 0, "box": [40, 30, 90, 150]}]
    assert [h["rank"] for h in found["hits"]] == [1, 2, 3]
    similarity = [h["similarity"] for h in found["hits"]]
    assert similarity == sorted(similarity, reverse=True)
    assert {Path(h["picture"]).parent.name for h in found["hits"]} <= {"cam0", "cam1"}
    every = search(run, indexed, query, "--box", BOX, "--every-hit")[0]["hits"]
    assert len(every) == 15
    one = search(run, indexed, query, "--box", BOX, "--camera", "cam1")[0]["hits"]
    assert {h["camera"] for h in one} == {"cam1"} and len(one) == 3
    assert search(run, indexed, query, "--box", BOX, "--min-score", 1.1)[0]["hits"] == []
    assert search(run, indexed, query, "--box", BOX, "--since", "2026-05-01")[0]["hits"] == []


def test_search_for_everybody_and_by_number(run, indexed):
    query = indexed[1] / "cam0" / "2.jpg"
    found = search(run, indexed, query, "--all")
    assert [f["label"] for f in found] == ["person 1", "person 2", "person 3"]
    centers = [f["queries"][0]["box"][0] + f["queries"][0]["box"][2] for f in found]
    assert centers == sorted(centers)
    (second,) = search(run, indexed, query, "--person", 2)
    assert second["queries"] == found[1]["queries"]
    assert [h["picture"] for h in second["hits"]] == [h["picture"] for h in found[1]["hits"]]


def test_several_queries_are_one_person(run, indexed):
    queries = [indexed[1] / "cam0" / "0.jpg", indexed[1] / "cam0" / "2.jpg"]
    (found,) = search(run, indexed, *queries, "--box", BOX, "--box", BOX)
    assert [q["picture"] for q in found["queries"]] == list(map(str, queries))
    assert not {h["picture"] for h in found["hits"]} & set(map(str, queries))
    assert len(found["hits"]) == 4


def test_sheet_and_page(run, indexed, tmp_path):
    sheet, page = tmp_path / "sheet.png", tmp_path / "page.html"
    query = indexed[1] / "cam0" / "2.jpg"
    run(
        *("search", query, "--all", "--gallery", indexed[0], "--device", "cpu"),
        *("--camera", "cam1", "--camera", "cam0", "--sheet", sheet, "--html", page),
    )
    text = page.read_text(encoding="utf-8")
    assert text.count('class="hit"') == 15
    assert "18 persons, the best hit of each frame, camera cam1 or cam0" in text
    with Image.open(sheet) as image:
        assert image.width > 500


@pytest.fixture
def calibrated(run, indexed, tiny, model, street_root, monkeypatch):
    """The weights have a calibration of Street tiny; gives what the command printed."""
    monkeypatch.setattr(open_set, "TAIL", 2)
    monkeypatch.setattr(open_set, "FEWEST", 4)
    path = Path(tiny.weights).with_suffix(".calibration.json")
    with registered(street_root):
        yield run(
            *("calibrate", "--gallery", indexed[0], "--device", "cpu"),
            *("--data", "street_tiny_test", "--false-alarm-rate", 0.4),
        )
    path.unlink()


def test_calibrate(calibrated, tiny):
    lines = calibrated.splitlines()
    assert lines[0].endswith("frames of street_tiny_test; false alarm rate 0.4")
    assert lines[1].split()[:2] == ["gallery", "threshold"]
    assert [float(line.split()[1]) for line in lines[3:-2]] == sorted(
        float(line.split()[1]) for line in lines[3:-2]
    )
    assert lines[-1] == tiny.weights.replace(".pth", ".calibration.json")


def test_is_the_person_there(run, indexed, calibrated, tmp_path):
    query = indexed[1] / "cam0" / "2.jpg"
    command = ["search", query, "--box", BOX, "--gallery", indexed[0], "--device", "cpu"]
    found = json.loads(run(*command, "--threshold", "auto", "--json"))
    threshold, (one,) = found["threshold"], found["searches"]
    assert (threshold["false_alarm_rate"], threshold["gallery"]) == (0.4, 18)
    assert threshold["data"] == "street_tiny_test"
    assert one["in_gallery"] == (one["best_similarity"] >= threshold["similarity"])
    assert bool(one["hits"]) == one["in_gallery"]

    (all_hits,) = search(run, indexed, query, "--box", BOX)
    assert all_hits["in_gallery"] is all_hits["best_similarity"] is None
    best, second = (hit["similarity"] for hit in all_hits["hits"][:2])
    assert best > second
    above, between = (best + 1) / 2, (best + second) / 2
    out = run(*command, "--threshold", above, "--html", tmp_path / "page.html", "--rerank")
    said = f"not in the gallery: the most similar has {best:.3f}"
    assert out.splitlines()[1:] == [said, "", f"threshold {above:.3f}, as given"]
    page = (tmp_path / "page.html").read_text()
    assert f"<p>{said}</p>" in page and f", re-ranked, threshold {above:.3f}, as given" in page
    lines = run(*command, "--threshold", between).splitlines()
    assert lines[1] == "in the gallery" and len(lines) == 7  # head, rule, one hit, "", threshold
    assert lines[4].split()[:2] == ["1", f"{best:.3f}"]
    (narrow,) = search(run, indexed, query, "--box", BOX, "--threshold", -1, "--min-score", 1.1)
    assert (narrow["in_gallery"], narrow["best_similarity"]) == (False, None)


def test_thresholds_that_are_wrong(failure, indexed, tiny, capsys, calibrated):
    query = indexed[1] / "cam0" / "2.jpg"
    command = ["search", query, "--all", "--gallery", indexed[0], "--device", "cpu"]
    assert "false alarm rate is 0.7: give" in failure(*command, "--threshold", "auto:0.7")
    moved = Path(shutil.copy(tiny.weights, indexed[1] / "moved.pth"))
    said = failure(*command, "--threshold", "auto", "--weights", moved)
    assert said.startswith(f"CalibrationError: {moved} has no calibration (")
    assert said.endswith("make one with person-search calibrate --data DATASET")
    data = ["--data", "street_tiny_test"]
    assert "say whose thresholds" in failure("calibrate", *data)
    for wrong in ("auto:often", "high", "1.5", "nan"):
        with pytest.raises(SystemExit) as stop:
            main([*map(str, command), "--threshold", wrong])
        assert stop.value.code == 2
        assert f"'{wrong}' is not a threshold" in capsys.readouterr().err


def test_re_ranking(run, indexed):
    query = indexed[1] / "cam0" / "2.jpg"
    (plain,), (reranked,) = (
        search(run, indexed, query, "--box", BOX, "--every-hit", *how) for how in ((), ["--rerank"])
    )

    def rows(found) -> set:
        return {(h["picture"], h["number"], round(h["similarity"], 5)) for h in found["hits"]}

    assert rows(plain) == rows(reranked) and len(rows(plain)) == 15


STEERING = "a\x1b[2J\x9bJ\u202e\nb\x7f"
"""Clears the screen in two ways, turns the direction of writing, begins a line."""


def test_no_name_steers_the_terminal(run, gallery, street_frames, tmp_path):
    uri, _ = gallery
    folder = tmp_path / STEERING
    folder.mkdir()
    shutil.copy(street_frames[7], folder / f"{STEERING}.jpg")
    query = folder / f"{STEERING}.jpg"
    shown = [run("index", folder, "--gallery", uri, "--device", "cpu")]
    command = ["search", query, "--box", BOX, "--gallery", uri, "--device", "cpu"]
    shown += [run(*command), run("info", "--gallery", uri)]
    shown.append(run("search", street_frames[0], *command[2:], "--camera", STEERING))
    printed = run(*command, "--json")
    for text in [*shown, printed]:
        assert all(c.isprintable() or c == "\n" for c in text)
    assert "\\x1b[2J\\x9bJ\\u202e\\nb\\x7f" in shown[1] and len(shown[1].splitlines()) == 9
    assert json.loads(printed)["searches"][0]["queries"][0]["picture"] == str(query)


def test_names_as_long_as_a_folder_takes_them(run, gallery, street_frames, folder, tmp_path):
    uri, _ = gallery
    deep = folder / ("人" * 80) / ("d" * 255)
    deep.mkdir(parents=True)
    name = "ü" * 125 + ".jpg"
    assert len(name.encode()) == 254
    shutil.copy(street_frames[7], deep / name)
    run("index", folder, "--gallery", uri, "--device", "cpu")
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    command = ["search", deep / name, "--box", BOX, "--gallery", uri, "--device", "cpu", "--json"]
    run(*command, "--html", page, "--sheet", sheet)
    assert name in page.read_text(encoding="utf-8") and sheet.exists()
    assert run("remove", deep / name, "--gallery", uri).startswith("removed 3 persons")


def test_info(run, indexed, tiny):
    out = run("info", "--gallery", indexed[0])
    facts = dict(line.split(maxsplit=1) for line in out.splitlines() if "threshold" not in line)
    assert facts["persons"] == "18" and facts["files"] == "6"
    assert facts["cameras"] == "cam0 9, cam1 9" and facts["time"] == "unknown"
    assert facts["weights"].startswith(tiny.weights)


def test_remove(run, gallery):
    uri, root = gallery
    out = run("remove", root / "cam0" / "0.jpg", root / "cam1", "--gallery", uri)
    assert out == "removed 12 persons; the gallery holds 6\n"
    assert "files            2" in run("info", "--gallery", uri)
    assert run("remove", "--camera", "cam0", "--gallery", uri).startswith("removed 6 persons")
    out = run("index", root / "cam0", root / "cam1", "--gallery", uri, "--device", "cpu")
    assert out.startswith("12 persons in 4 frames of 4 files; 2 files were there already")


def test_export(run, indexed, tmp_path):
    for name in ("rows.csv", "rows.jsonl", "rows.npz"):
        out = run("export", tmp_path / name, "--gallery", indexed[0], "--camera", "cam1")
        assert out == f"9 persons in {tmp_path / name}\n"
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    records = list(map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines()))
    arrays = np.load(tmp_path / "rows.npz")
    assert len(rows) == len(records) == len(arrays["score"]) == 9
    assert {r["camera"] for r in rows} == {r["camera"] for r in records} == {"cam1"}
    np.testing.assert_allclose(np.linalg.norm(arrays["embed"], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        [[float(r[k]) for k in ("x1", "y1", "x2", "y2")] for r in rows], arrays["box"], atol=1e-3
    )
    assert [r["box"] for r in records] == arrays["box"].tolist()


LIGHT = """
import sys
from person_search.gallery.cli import main

gallery, rows = sys.argv[1:]
for command in (["info"], ["export", rows], ["remove", "/nowhere.jpg"]):
    assert main([*command, "--gallery", gallery]) == 0
try:
    main(["--help"])
finally:
    assert not {"torch", "detectron2", "cv2", "matplotlib"} & sys.modules.keys()
"""


def test_what_needs_no_model_loads_none(gallery, tmp_path):
    command = [sys.executable, "-c", LIGHT, gallery[0], str(tmp_path / "rows.csv")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert "persons          18" in done.stdout and "18 persons in" in done.stdout
    assert "usage: person-search" in done.stdout


def test_python_m_person_search(indexed):
    """As a process of its own it says what was found, and not what its libraries think of it."""
    query = str(indexed[1] / "cam0" / "2.jpg")
    command = ["search", query, "--box", BOX, "--gallery", indexed[0], "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "person_search", *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("note: this model learned from drawn figures (Street), and")
    assert done.stdout.startswith(f"query: {query} [")


# -------------------------------------------------------------------------------------- mistakes


def test_queries_that_are_wrong(failure, indexed, tmp_path, folder):
    query = indexed[1] / "cam0" / "2.jpg"
    gallery = ["--gallery", indexed[0], "--device", "cpu"]

    def said(*arguments) -> str:
        return failure("search", *arguments, *gallery)

    assert "shows 3 person(s), choose with --person one of 1: " in said(query)
    assert "shows 3 person(s), choose" in said(query, "--person", 4)
    assert said(query, "--box", "400,10,50,50").startswith("QueryError: the box from (400, 10)")
    assert "there are 2 QUERY, so give --box as often" in said(query, query, "--box", BOX)
    assert "--all takes one QUERY" in said(query, query, "--all")
    assert said("nowhere.jpg", "--all").startswith("ImageError: cannot read the image nowhere.jpg")
    (folder / "empty.jpg").touch()
    assert "not a readable image" in said(folder / "empty.jpg", "--all")
    assert "cannot write the sheet" in said(query, "--all", "--sheet", tmp_path / "no" / "s.png")


def test_nobody_in_the_query(failure, indexed, model, tmp_path):
    query, opts = indexed[1] / "cam0" / "2.jpg", ["TEST.SEARCH.SCORE_THRESH", "1.1"]
    uri = tmp_path / "empty"
    assert main(["index", str(query), "--gallery", str(uri), *model, *opts]) == 0
    message = failure("search", query, "--all", "--gallery", uri, "--device", "cpu")
    assert message == f"QueryError: no person was found in {query}: draw a box with --box x,y,w,h"


def test_galleries_that_are_wrong(failure, indexed, model, tmp_path):
    query = indexed[1] / "cam0" / "2.jpg"
    nowhere = ["--gallery", tmp_path / "nowhere"]
    for command in (["info"], ["search", query], ["remove", query], ["export", "a.csv"]):
        assert failure(*command, *nowhere) == (
            f"GalleryError: there is no gallery in {tmp_path / 'nowhere'}"
        )
    assert failure("index", query, *nowhere).endswith(
        "is not here yet: person-search models get yolox-nano-osnet-x0.25"
    )
    assert not (tmp_path / "nowhere").exists()
    other = [*model, "INPUT.MIN_SIZE_TEST", 100]
    for command in (["search", query, "--all"], ["index", query]):
        message = failure(*command, "--gallery", indexed[0], *other)
        assert message.startswith(f"GalleryError: the gallery {indexed[0]} was made with another")


def test_options_that_are_wrong(failure, indexed, tiny, capsys):
    gallery = ["--gallery", indexed[0]]
    assert "a.yaml needs --weights" in failure("index", indexed[1], *gallery, "--model", "a.yaml")
    assert "--opts override a config" in failure("index", indexed[1], *gallery, "--opts", "A", "1")
    assert "say what to remove" in failure("remove", *gallery)
    assert "has to end in .csv" in failure("export", "rows.txt", *gallery)
    assert "cannot write nowhere/a.csv" in failure("export", "nowhere/a.csv", *gallery)
    assert "no picture or video in nowhere" in failure("index", "nowhere", *gallery)
    for wrong in (["--box", "1,2,3"], ["--top-k", "0"], ["--since", "yesterday"]):
        with pytest.raises(SystemExit) as stop:
            main(["search", "a.jpg", *gallery, *wrong])
        assert stop.value.code == 2
        assert wrong[1] in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["Permission denied (os error 13)", "No space left on device"])
def test_a_gallery_that_cannot_be_written(
    run, failure, gallery, folder, street_frames, monkeypatch, reason
):
    def refuse(*args):
        raise OSError(reason)

    uri, root = gallery
    shutil.copy(street_frames[8], folder)
    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceIndex, "_merge", refuse)
        message = failure("index", folder, "--gallery", uri, "--device", "cpu")
        assert message == f"GalleryError: cannot write to the gallery {uri}: {reason}"
        assert len(search(run, (uri,), root / "cam0" / "2.jpg", "--box", BOX)[0]["hits"]) == 5
    out = run("index", folder, "--gallery", uri, "--device", "cpu")
    assert out.startswith("3 persons in 1 frames of 1 files; 0 files were there already\n")


def test_ctrl_c(monkeypatch, capsys, indexed):
    from person_search.gallery.indexing import Indexer

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Indexer, "run", interrupt)
    command = ["index", str(indexed[1]), "--gallery", indexed[0], "--device", "cpu"]
    assert main(command) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"
    assert os.path.isdir(indexed[0])
