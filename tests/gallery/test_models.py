"""Models by name: packs without torch, configs with weights, and the one of a gallery."""

import shutil
import subprocess
import sys
from pathlib import Path

import gallery_rows
import pytest
import yaml

from person_search import packs
from person_search.errors import ConfigError, GalleryError, PackError, WeightsError
from person_search.gallery import open_gallery
from person_search.gallery.cli import main
from person_search.gallery.models import drawn_note, is_config, open_gallery_model, open_model

PACK_FILES = ("yolox_nano.onnx", "osnet_x0_25_msmt17.onnx")


@pytest.fixture
def user(tmp_path, monkeypatch) -> Path:
    """The folder of a user who has named nothing, and has no pack."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PERSON_SEARCH_PACKS", str(tmp_path / "packs"))
    return tmp_path


@pytest.fixture
def pack(user, shared_data) -> Path:
    """The recommended pack is there; gives a photograph-like frame with persons."""
    pytest.importorskip("onnxruntime", reason="needs the extra: pip install -e '.[packs]'")
    folder = user / "packs" / packs.RECOMMENDED
    folder.mkdir(parents=True)
    for name in PACK_FILES:
        shutil.copy(shared_data / "weights" / name, folder)
    return sorted((shared_data / "PRW-v16.04.20" / "frames").glob("*.jpg"))[0]


def test_a_config_or_a_pack():
    assert is_config("configs/PRW/nae.yaml") and is_config("my.yml")
    assert not is_config("yolox-nano-osnet-x0.25") and not is_config("folder/pack.yaml")


def test_a_folder_is_a_pack_whatever_its_name(tmp_path):
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(PackError, match="mine.yaml is no pack: it holds no pack.yaml"):
        open_model(str(tmp_path / "mine.yaml"))


def test_options_that_belong_to_the_other_kind(user):
    with pytest.raises(WeightsError, match="a.yaml needs --weights"):
        open_model("a.yaml")
    with pytest.raises(ConfigError, match="--tiles is for packs"):
        open_model("a.yaml", "a.pth", tiles=2)
    with pytest.raises(PackError, match="--weights belongs to a config file, and my_pack is none"):
        open_model("my_pack", "a.pth")
    with pytest.raises(PackError, match="--opts belongs to a config"):
        open_model("my_pack", opts=["A", "1"])
    with pytest.raises(GalleryError, match="--tiles is for packs, and memory: was made with a con"):
        open_gallery_model(open_gallery("memory:", gallery_rows.model()), "a.pth", tiles=2)


def test_the_first_day(pack, user, capsys):
    """Index and search without naming a model; all commands work with it."""
    photos, gallery = user / "photos", ["--gallery", str(user / "gallery")]
    photos.mkdir()
    shutil.copy(pack, photos / "1.jpg")
    shutil.copy(pack, photos / "2.jpg")
    assert main(["index", str(photos), *gallery]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    assert out.out.startswith("the model is yolox-nano-osnet-x0.25, the recommended pack; --model")
    page = user / "page.html"
    query = [str(photos / "1.jpg"), "--all"]
    assert main(["search", *query, *gallery, "--html", str(page)]) == 0
    out = capsys.readouterr()
    assert "1  1.000 " in " ".join(out.out.split(" ")) or " 1.000 " in out.out
    assert page.read_text().count("<svg") >= 2 and "not opened" not in page.read_text()
    assert main(["index", str(photos), *gallery]) == 0  # with the gallery's own model
    assert capsys.readouterr().out.startswith("0 persons in 0 frames of 0 files; 2 files were")
    assert main(["index", str(photos), *gallery, "--model", packs.RECOMMENDED]) == 0


def test_without_the_pack_one_line_says_how_to_get_it(user, capsys):
    (user / "a.jpg").touch()
    assert main(["index", str(user / "a.jpg"), "--gallery", str(user / "gallery")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is not here yet: person-search models get yolox-nano-osnet-x0.25")
    assert not (user / "gallery").exists()


def test_the_command_models(user, capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for name in packs.ready():
        assert name in out
    assert "(recommended)" in out and str(user / "packs") in out
    parts = ["--detector", "a.onnx", "--embedder", "b.onnx"]
    assert main(["models", "make", str(user / "p"), *parts]) == 1
    assert "a.onnx: No such file" in capsys.readouterr().err
    assert main(["models", "get", "nothing"]) == 1
    assert "no ready pack nothing; there are " in capsys.readouterr().err


def test_weights_of_drawn_figures_say_so():
    def note(kind: str, **content) -> str:
        return drawn_note(gallery_rows.model(kind=kind, config=yaml.safe_dump(content)))

    drawn = "this model learned from drawn figures"
    assert drawn in note("detectron2", DATASETS={"TRAIN": ["prw_train", "street_small_train"]})
    assert note("detectron2", DATASETS={"TRAIN": ["prw_train"]}) == ""
    assert drawn in note("pack", trained_on="street_small_train, from random weights")
    assert note("pack", trained_on="pictures of streets (COCO)") == ""
    assert note("detectron2", A=1) == drawn_note(gallery_rows.model(config="{")) == ""


NO_TORCH = """
import sys
from importlib.machinery import PathFinder

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] not in ("torch", "torchvision", "detectron2", "fvcore"):
            return super().find_spec(name, path, target)

sys.meta_path = [WithoutTorch if finder is PathFinder else finder for finder in sys.meta_path]

from person_search.gallery import PersonSearcher
from person_search.gallery.cli import main

picture, gallery, folder = sys.argv[1:]
where = ["--gallery", gallery]
assert main(["index", picture, *where]) == 0
assert main(["search", picture, "--all", "--every-hit", *where, "--json", "--rerank",
             "--html", f"{folder}/page.html", "--sheet", f"{folder}/sheet.png"]) == 0
assert main(["info", *where]) == main(["models"]) == 0
assert main(["export", f"{folder}/rows.csv", *where]) == 0
searcher = PersonSearcher.from_pack("yolox-nano-osnet-x0.25")
persons = searcher.detect(picture)
hits = searcher.search(picture, persons.boxes[0], gallery, top_k=1)
assert hits[0].similarity > 0.999, hits
assert PersonSearcher.from_gallery(gallery).model == searcher.model
assert main(["index", picture, *where, "--model", "a.yaml", "--weights", "a.pth"]) == 1
"""


def test_packs_need_no_torch(pack, user):
    program = [sys.executable, "-c", NO_TORCH, str(pack), str(user / "gallery"), str(user)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stderr.splitlines()[-1]
