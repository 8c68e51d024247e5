"""Exported rows: safe for spreadsheets, and, as COCO, back through the room of importing."""

import csv
import json
from pathlib import Path

import cv2
import gallery_rows
import numpy as np
import pytest
from PIL import Image

from person_search.errors import GalleryError
from person_search.gallery import Persons, open_gallery
from person_search.gallery.export import export_rows
from person_search.gallery.export_coco import export_coco, read_confirmed
from person_search.gallery.trust import Pictures
from person_search.importing import FORMATS, Options, Reading

BOXES = np.float32([[1, 2, 11.5, 22], [20, 5, 30.25, 25.125]])


def add(gallery, picture: Path, camera: str = "", frame: int = 0, seconds: float = 0.0, **values):
    embeds = gallery_rows.unit(2, seed=1)
    place = {"camera": camera, "frame": frame, "seconds": seconds, **values}
    gallery.upsert(Persons.of_frame(BOXES, np.float32([0.9, 0.8]), embeds, str(picture), **place))


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder of pictures: one as usual, one that its EXIF data turns, and one nobody named."""
    rng = np.random.default_rng(0)
    for name in ("yard/a.png", "gate/b.jpg", "other/c.png"):
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True)
        small = Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if name.startswith("gate") else 1  # turned by a quarter
        small.resize((60, 40), Image.BICUBIC).save(path, exif=exif)
    return tmp_path / "site"


@pytest.fixture
def gallery(site):
    gallery = open_gallery("memory:", gallery_rows.model())
    add(gallery, site / "yard/a.png", "yard", time=1_777_636_800_500)
    add(gallery, site / "gate/b.jpg", "gate")
    add(gallery, site / "other/c.png", "other")
    add(gallery, site / "yard/gone.png", "yard")
    return gallery


def test_coco_goes_out_and_comes_back(gallery, site, tmp_path):
    pictures = Pictures([str(site / "yard"), str(site / "gate")])
    confirmed = {(str(site / "gate/b.jpg"), 0, 1): "alice", (str(site / "yard/a.png"), 0, 0): "7"}
    tally = export_coco(gallery, str(tmp_path / "out"), pictures, confirmed=confirmed)
    assert (tally.taken("pictures"), tally.taken("persons")) == (2, 4)
    assert (tally.left_out("pictures"), tally.left_out("persons")) == (2, 4)
    assert "outside of the folders that you named" in str(tally) and "not readable" in str(tally)

    reading = Reading(Options(), FORMATS["coco"].are_tracks)
    frames = FORMATS["coco"].read(tmp_path / "out" / "annotations.json", reading)
    assert [f.message for f in reading.faults] == []
    assert [Path(f.path).relative_to(tmp_path / "out/images").as_posix() for f in frames] == [
        "gate/b.jpg.jpg", "yard/a.png"
    ]  # fmt: skip
    gate, yard = frames
    for frame in frames:
        xyxy = [[x, y, x + w, y + h] for x, y, w, h in (box.xywh for box in frame.boxes)]
        np.testing.assert_allclose(xyxy, BOXES, atol=0.01)
    assert [box.person_id for box in gate.boxes] == [None, "alice"]
    assert [str(box.person_id) for box in yard.boxes] == ["7", "None"]
    assert gate.camera != yard.camera and yard.time == 1_777_636_800.5 and gate.time is None


def test_pictures_are_upright(gallery, site, tmp_path):
    export_coco(gallery, str(tmp_path / "out"), Pictures([str(site)]))
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in content["images"]}
    assert sizes == {"gate/b.jpg.jpg": (60, 40), "other/c.png": (40, 60), "yard/a.png": (40, 60)}
    turned = cv2.imread(str(site / "gate/b.jpg"))  # as OpenCV shows it
    written = cv2.imread(str(tmp_path / "out/images/gate/b.jpg.jpg"))
    assert np.abs(turned.astype(int) - written).mean() < 6
    copied = tmp_path / "out/images/yard/a.png"
    assert copied.read_bytes() == (site / "yard/a.png").read_bytes()
    by_image = {image["id"]: image for image in content["images"]}
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        image = by_image[annotation["image_id"]]
        assert 0 <= x < x + w <= image["width"] and 0 <= y < y + h <= image["height"]
        assert annotation["area"] == pytest.approx(w * h, abs=0.01)


def test_frames_of_a_film_become_pictures(tmp_path, shared_data):
    pytest.importorskip("av", reason="needs the extra: pip install -e '.[gallery]'")
    film = next(
        path for path in sorted((shared_data / "videos").rglob("*")) if path.suffix == ".mp4"
    )
    gallery, pictures = (
        open_gallery("memory:", gallery_rows.model()),
        Pictures([str(film.resolve())]),
    )
    add(gallery, film.resolve(), "film", frame=10, seconds=0.4)
    export_coco(gallery, str(tmp_path / "out"), pictures)
    (written,) = (tmp_path / "out/images").iterdir()
    assert written.name == f"{film.name}_000010.jpg"
    image = cv2.imread(str(written))
    shown = pictures.read(str(film.resolve()), 0.4)
    assert image.shape == shown.shape and np.abs(shown.astype(int) - image).mean() < 6


def test_annotations_that_are_there_are_kept(gallery, site, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/annotations.json").write_text("my work")
    with pytest.raises(GalleryError, match="annotations.json is there already"):
        export_coco(gallery, str(tmp_path / "out"), Pictures([str(site)]))
    assert (tmp_path / "out/annotations.json").read_text() == "my work"


def hits(*keys) -> list[dict]:
    return [dict(zip(("picture", "frame", "number"), key, strict=True)) for key in keys]


def test_confirmed_hits_are_one_person(tmp_path):
    one, two = ("/a.jpg", 0, 1), ("/film.mp4", 25, 0)
    alice, party = tmp_path / "alice.json", tmp_path / "party.json"
    alice.write_text(json.dumps({"searches": [{"label": "query", "hits": hits(one, two)}]}))
    assert read_confirmed([str(alice)]) == {one: "alice", two: "alice"}
    searches = [{"label": "person 1", "hits": hits(one)}, {"label": "person 2", "hits": []}]
    party.write_text(json.dumps({"searches": searches}))
    assert read_confirmed([str(party)]) == {one: "party/person 1"}
    with pytest.raises(GalleryError, match="confirmed as alice and as party/person 1"):
        read_confirmed([str(alice), str(party)])
    for damage in ("", "[]", '{"searches": 3}', '{"searches": [{"hits": [{}]}]}', "[" * 5000):
        party.write_text(damage)
        with pytest.raises(GalleryError, match="party.json is not what search --json prints"):
            read_confirmed([str(party)])


def test_no_cell_is_a_formula(tmp_path):
    gallery = open_gallery("memory:", gallery_rows.model())
    for i, camera in enumerate(("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "yard", "")):
        add(gallery, Path(f"/{i}.jpg"), camera)
    export_rows(gallery, str(tmp_path / "rows.csv"))
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        cameras = sorted({row["camera"] for row in csv.DictReader(file)})
    assert cameras == sorted(["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "yard", ""])
