"""The command person-search, as users give it: what it prints, writes, and says to mistakes."""

import csv
import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import person_search
from person_search.gallery import lance
from person_search.gallery.cli import main

pytest.importorskip("lancedb", reason="needs the extra: pip install -e '.[gallery]'")


@pytest.fixture(scope="module", autouse=True)
def _loggers():
    """As they were before: the command silences them."""
    loggers = [logging.getLogger(name) for name in ("person_search", "torch")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


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


def test_index_goes_on_where_it_was(run, gallery, street_frames, folder):
    uri, root = gallery
    out = run("index", root / "cam0", "--gallery", uri, "--device", "cpu")
    assert out == (
        "0 persons in 0 frames of 0 files; 3 files were there already; the gallery holds 18 "
        "persons\n"
    )
    shutil.copy(street_frames[7], folder / "Füße 人.jpg")
    (folder / "broken.jpg").touch()
    lines = run("index", folder, "--gallery", uri, "--device", "cpu").splitlines()
    assert lines[0].startswith("3 persons in 1 frames of 1 files; 0 files were there already;")
    assert lines[1] == "1 files could not be read, or not to their ends:"
    assert lines[2].startswith("  not a readable image: ") and len(lines) == 3


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
    centres = [f["queries"][0]["box"][0] + f["queries"][0]["box"][2] for f in found]
    assert centres == sorted(centres)
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
import sys, types
package = sys.modules["person_search"] = types.ModuleType("person_search")
package.__path__ = [sys.argv.pop(1)]  # without what its __init__ registers
from person_search.gallery.cli import main
assert main(sys.argv[1:]) == 0
assert not {"torch", "detectron2", "cv2", "matplotlib"} & sys.modules.keys()
"""


def test_what_needs_no_model_loads_none(indexed):
    package = str(Path(person_search.__file__).parent)
    command = [sys.executable, "-c", LIGHT, package, "info", "--gallery", indexed[0]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "persons          18" in done.stdout


def test_python_m_person_search(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["person-search", "search", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("person_search", run_name="__main__")
    assert stop.value.code == 0
    assert "--box X,Y,W,H" in capsys.readouterr().out


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
    assert failure("index", query, *nowhere).endswith("to make one, give --model and --weights")
    assert not (tmp_path / "nowhere").exists()
    other = [*model, "INPUT.MIN_SIZE_TEST", 100]
    for command in (["search", query, "--all"], ["index", query]):
        message = failure(*command, "--gallery", indexed[0], *other)
        assert message.startswith(f"GalleryError: the gallery {indexed[0]} was made with another")


def test_options_that_are_wrong(failure, indexed, tiny, capsys):
    gallery = ["--gallery", indexed[0]]
    assert "--model needs --weights" in failure("index", indexed[1], *gallery, "--model", "a.yaml")
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


def test_a_gallery_that_must_not_be_written(failure, gallery, folder, street_frames, monkeypatch):
    def refuse(*args):
        raise OSError("Permission denied (os error 13)")

    uri, _ = gallery
    shutil.copy(street_frames[8], folder)
    monkeypatch.setattr(lance.LanceIndex, "_merge", refuse)
    message = failure("index", folder, "--gallery", uri, "--device", "cpu")
    assert message == (
        f"GalleryError: cannot write to the gallery {uri}: Permission denied (os error 13)"
    )


def test_ctrl_c(monkeypatch, capsys, indexed):
    from person_search.gallery.indexing import Indexer

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Indexer, "run", interrupt)
    command = ["index", str(indexed[1]), "--gallery", indexed[0], "--device", "cpu"]
    assert main(command) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"
    assert os.path.isdir(indexed[0])
