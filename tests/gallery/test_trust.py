"""A gallery from a stranger opens nothing that its reader did not name."""

import json
import os
import pickle
from pathlib import Path

import cv2
import gallery_rows
import numpy as np
import pytest

from person_search.errors import GalleryError, ImageError, WeightsError
from person_search.gallery import open_gallery, trust
from person_search.gallery.models import open_gallery_model
from person_search.gallery.trust import Pictures


@pytest.fixture(autouse=True)
def config_folder(tmp_path, monkeypatch) -> Path:
    """Of a user who has named nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def test_pictures_below_what_was_named(tmp_path):
    folder, single = tmp_path / "photos", tmp_path / "other" / "a.jpg"
    pictures = Pictures([str(folder), str(single), f"{tmp_path}/more/"])
    for path in ("photos/a.jpg", "photos/deep/b.mp4", "other/a.jpg", "more/c.png"):
        assert pictures.may_open(f"{tmp_path}/{path}"), path
    for path in (
        "photos2/a.jpg",
        "other/b.jpg",
        "other/a.jpg.png",
        "photos/../secret.jpg",
        "x.jpg",
    ):
        assert not pictures.may_open(f"{tmp_path}/{path}"), path
    for path in ("photos/a.jpg", "", "/etc/passwd", f"file://{folder}/a.jpg", "http://host/a.mp4",
                 "lmdb://x/a", f"concat:{folder}/a.mp4", f"//host{folder}/a.jpg",
                 f"{folder}/./a.jpg", f"{folder}//a.jpg", f"{folder}/a\0.jpg"):  # fmt: skip
        assert not pictures.may_open(path), path
    assert not Pictures([]).may_open(str(single))


def test_pictures_that_may_be_opened_are_read(tmp_path):
    image = np.full((9, 12, 3), 80, np.uint8)
    for name in ("named", "other"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), image)
    pictures = Pictures([str(tmp_path / "named")])
    np.testing.assert_array_equal(pictures.read(str(tmp_path / "named" / "a.png"), 0), image)
    with pytest.raises(ImageError, match="outside of the folders that you named; .* --pictures"):
        pictures.read(str(tmp_path / "other" / "a.png"), 0)


def test_what_was_named_is_remembered_by_gallery(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trust.remember_pictures("/g", ["photos", "/films/a.mp4"])
    trust.remember_pictures("s3://bucket/g", ["/elsewhere"])
    trust.remember_pictures("/g", ["photos"])
    assert trust.named_pictures("/g") == [str(tmp_path / "photos"), "/films/a.mp4"]
    assert trust.named_pictures("s3://bucket/g") == ["/elsewhere"]
    assert trust.named_pictures("/another") == []
    assert len(trust.named_file().read_text().splitlines()) == 3


def test_weights_are_remembered_by_content(tmp_path):
    here, moved = tmp_path / "a.pth", tmp_path / "b.pth"
    here.touch()
    trust.remember_weights(gallery_rows.model(weights=str(here)))
    trust.remember_weights(gallery_rows.model(weights=str(moved)))
    stranger = gallery_rows.model(weights="/stranger/a.pth")
    assert trust.named_weights(stranger) == str(here)  # the later one is not there
    moved.touch()
    assert trust.named_weights(stranger) == str(moved)
    assert trust.named_weights(gallery_rows.model(weights=str(here))) == str(here)
    assert trust.named_weights(gallery_rows.model(weights_hash="w1")) is None


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "3", '{"weights": "w0"}', '{"weights": "w0", "path": 3}', "\xff\0"]
)
def test_damaged_lines_count_as_never_written(tmp_path, line):
    (tmp_path / "a.pth").touch()
    trust.remember_weights(gallery_rows.model(weights=str(tmp_path / "a.pth")))
    with open(trust.named_file(), "a", encoding="latin1") as file:
        file.write(line + "\n")
    trust.remember_pictures("/g", ["/photos"])
    assert trust.named_weights(gallery_rows.model()) == str(tmp_path / "a.pth")
    assert trust.named_pictures("/g") == ["/photos"]


def test_a_config_folder_that_cannot_be_written(config_folder):
    config_folder.write_text("a file")
    trust.remember_pictures("/g", ["/photos"])
    assert trust.named_pictures("/g") == []


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", ["detectron2", "pack", "surprise"])
@pytest.mark.parametrize("suffix", [".pkl", ".pth", ""])
def test_a_strangers_weights_are_not_opened(tmp_path, kind, suffix):
    """Its own path is never followed, wherever it lies and whatever hash it has."""
    gallery, bomb = tmp_path / "gallery", tmp_path / "gallery" / f"weights{suffix}"
    open_gallery(str(gallery), gallery_rows.model(weights=str(bomb), kind="pack"))
    gallery.mkdir(exist_ok=True)
    bomb.write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    if kind == "surprise":
        with pytest.raises(GalleryError, match="kind"):
            open_gallery("memory:", gallery_rows.model(weights=str(bomb), kind=kind))
        return
    index = open_gallery("memory:", gallery_rows.model(weights=str(bomb), kind=kind))
    with pytest.raises(WeightsError, match="nobody named on this machine.* --weights") as error:
        open_gallery_model(index)
    assert str(bomb) in str(error.value)
    assert not (tmp_path / "mark").exists()


NOTE = json.loads(json.dumps(vars(gallery_rows.model())))


@pytest.mark.parametrize(
    "note",
    [
        "", "{", "[]", "3", "null", '"text"', "{}", '{"config": "A: 1"}',
        json.dumps(NOTE | {"more": 1}),
        json.dumps(NOTE | {"dim": "8"}),
        json.dumps(NOTE | {"dim": True}),
        json.dumps(NOTE | {"dim": 0}),
        json.dumps(NOTE | {"dim": 10**9}),
        json.dumps(NOTE | {"score_thresh": float("nan")}),
        json.dumps(NOTE | {"score_thresh": "0.5"}),
        json.dumps(NOTE | {"weights": ["a.pth"]}),
        json.dumps(NOTE | {"weights_hash": None}),
        json.dumps(NOTE | {"config": {"A": 1}}),
    ],
)  # fmt: skip
def test_a_model_note_of_another_type_is_refused(note):
    index = open_gallery("memory:", gallery_rows.model())
    index.write_notes({"model": note})
    with pytest.raises(GalleryError, match="the model note of the gallery memory: is damaged"):
        index._remember(None)


def test_a_note_of_before_packs_is_a_detectron2_model():
    index = open_gallery("memory:", gallery_rows.model())
    old = {name: value for name, value in NOTE.items() if name != "kind"}
    index.write_notes({"model": json.dumps(old)})
    index._remember(None)
    assert index.model == gallery_rows.model()
