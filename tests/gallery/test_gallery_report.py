"""The page and the sheet: complete, self-contained, safe, and there even if a picture is not."""

from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from person_search.errors import ImageError
from person_search.gallery import Hit
from person_search.gallery.persons import to_datetime
from person_search.gallery.queries import Query, QueryImage
from person_search.gallery.report.page import write_page
from person_search.gallery.report.pictures import scene_details, scene_reader
from person_search.gallery.report.sheet import write_sheet
from person_search.gallery.search import SearchResult
from person_search.gallery.trust import Pictures

NASTY = '<script>alert("x")</script> & Co'


class Parsed(HTMLParser):
    """Tags of a page, which it checks to be closed, and what they refer to."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.references, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.references += [attributes[k] for k in ("href", "src") if k in attributes]
        if tag not in ("meta", "img", "html"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert tag == "html" or self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def count(self, tag: str, css: str = "") -> int:
        return sum(t == tag and css in a.get("class", "") for t, a in self.tags)


def hit(picture: str, **values) -> Hit:
    values = {
        "frame": 0,
        "number": 0,
        "seconds": 0.0,
        "time": to_datetime(1_777_636_800_000),
        "camera": NASTY,
        "box": (10.0, 5.0, 30.0, 45.0),
        "score": 0.9,
        "similarity": 0.8765,
    } | values
    return Hit(picture=picture, **values)


@pytest.fixture
def results(tmp_path) -> list[SearchResult]:
    """Two persons: one with three hits, one of them in a picture that is gone; one with none."""
    scene = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    name = str(tmp_path / "Füße 人 & Co.png")
    Image.fromarray(scene).save(name)
    shown = QueryImage(f"{NASTY}.png", 0.0, scene, np.array([0.0, 0.0, 20.0, 50.0]))
    hits = [hit(name), hit("/gone.jpg", similarity=-0.2), hit(name, camera="", time=None)]
    embed = np.zeros(4)
    return [
        SearchResult(Query(NASTY, [shown, shown], embed), hits),
        SearchResult(Query("person 2", [shown], embed), []),
    ]


def test_the_page(results, tmp_path):
    write_page(results, Pictures([str(tmp_path)]), NASTY, NASTY, str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Parsed(text)
    assert page.open == []
    assert page.count("section") == 2
    assert page.count("figure", "query") == 3 and page.count("figure", "hit") == 3
    assert page.count("div", "gone") == 1 and page.count("p", "nothing") == 1
    # Of 3 queries and 2 hits a scene and a crop each, and nothing from elsewhere.
    assert len(page.references) == 10
    assert all(r.startswith("data:image/jpeg;base64,") for r in page.references)
    assert page.count("script") == 1 and "alert" not in text.split("<script>")[1]
    assert "0.876" in page.text and "2026-05-01 12:00:00" in page.text
    boxes = [a for t, a in page.tags if t == "rect" and "under" not in a.get("class", "")]
    assert [boxes[2][k] for k in ("x", "y", "width", "height")] == ["10.0", "5.0", "20.0", "40.0"]


def test_the_sheet(results, tmp_path):
    path = tmp_path / "sheet.png"
    write_sheet(results, Pictures([str(tmp_path)]), str(path))
    with Image.open(path) as sheet:
        columns = sheet.width / sheet.height
        pixels = np.asarray(sheet)
    assert columns > 1
    assert (pixels == (37, 99, 235)).all(axis=2).any()  # queries are framed blue,
    assert (pixels == (5, 150, 105)).all(axis=2).any()  # hits green


@pytest.mark.parametrize("name", ["nowhere/sheet.png", "sheet.nonsense"])
def test_a_sheet_that_cannot_be_written(results, tmp_path, name):
    with pytest.raises(ImageError, match="cannot write the sheet"):
        write_sheet(results, Pictures([]), str(tmp_path / name))


def test_a_page_that_cannot_be_written(results, tmp_path):
    with pytest.raises(ImageError, match="cannot write the page .*: No such file"):
        write_page(results, Pictures([]), "g", "", str(tmp_path / "nowhere" / "page.html"))


def test_scene_details():
    known = scene_details(hit("film.mp4", frame=100, seconds=3725.9))
    assert known == {"camera": NASTY, "time": "2026-05-01 12:00:00", "at": "1:02:05"}
    assert scene_details(hit("a.jpg", camera="", time=None)) == {}


def test_the_last_scene_is_kept_only_if_it_is_not_too_large(tmp_path, monkeypatch):
    paths = [str(tmp_path / name) for name in ("large.png", "small.png")]
    for path, side in zip(paths, (40, 20), strict=True):
        Image.new("RGB", (side, side)).save(path)
    pictures, opened = Pictures([tmp_path]), []
    original = pictures.read
    monkeypatch.setattr(pictures, "read", lambda *of: opened.append(of[0]) or original(*of))
    monkeypatch.setattr("person_search.gallery.report.pictures.MOST_KEPT", 20 * 20 * 3)
    read = scene_reader(pictures)
    for path in (paths[0], paths[0], paths[1], paths[1], paths[0], paths[1]):
        assert read(path, 0.0).shape[0] in (20, 40)
    assert opened == [paths[0], paths[0], paths[1], paths[0], paths[1]]
