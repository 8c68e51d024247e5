"""What the page does, without any server: detect, pick, draw, search; and what it refuses."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from person_search.errors import GalleryError, ImageError, QueryError
from person_search.gallery import Filter, GalleryIndex, Persons, open_gallery
from person_search.gallery.calibration import Threshold
from person_search.gallery.report.page import asset
from person_search.gallery.search import SearchOptions
from person_search.gallery.serve.page import MOST_HITS, Scene, SearchPage, scene_html
from person_search.gallery.trust import Pictures
from person_search.structures import Detections

NASTY = '"><script>alert(1)</script>.jpg'


@pytest.fixture(scope="module")
def gallery(searcher, street_frames) -> GalleryIndex:
    """Four pictures of two cameras; the last one's rows are there, but it is not listed."""
    gallery = open_gallery("memory:", searcher.model)
    for i, path in enumerate(street_frames[:4]):
        found = searcher.detect([cv2.imread(path)])[0]
        gallery.upsert(
            Persons.of_frame(
                found.boxes, found.scores, found.embeds, path, time=10**12 + i, camera=f"c{i % 2}"
            )
        )
    gallery.write_files(dict.fromkeys(street_frames[:4], "read"))
    return gallery


@pytest.fixture(scope="module")
def page(searcher, gallery, street_frames) -> SearchPage:
    return SearchPage(searcher, [gallery], [Pictures(street_frames[:3])])


@pytest.fixture(scope="module")
def scene(page, street_frames) -> Scene:
    return page.detect(Path(street_frames[1]).read_bytes(), "b.jpg")


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_detect_gives_everybody_from_the_left(page, searcher, scene, street_frames):
    found = searcher.detect([cv2.imread(street_frames[1])])[0]
    centers = (scene.found.boxes[:, 0] + scene.found.boxes[:, 2]).tolist()
    assert centers == sorted((found.boxes[:, 0] + found.boxes[:, 2]).tolist())
    np.testing.assert_array_equal(np.sort(scene.found.scores), np.sort(found.scores))
    np.testing.assert_array_equal(scene.image, cv2.imread(street_frames[1]))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_picked_person_is_found_first_in_the_own_frame(
    page, scene, number, street_frames, gallery
):
    wanted = page.pick(scene, number)
    assert wanted.label == f"person {number}"
    hits = page.search(wanted, gallery.uri).hits
    assert len(hits) == 4 and hits[0].picture == street_frames[1]
    assert hits[0].similarity == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(hits[0].box, scene.found.boxes[number - 1], atol=1e-3)


@pytest.mark.parametrize("number", [0, 4, -1, "1", None, 1.0, [1]])
def test_nobody_has_that_number(page, scene, number):
    with pytest.raises(QueryError, match="b.jpg shows no person"):
        page.pick(scene, number)


def test_a_drawn_box_is_clipped_and_embedded(page, searcher, scene):
    wanted = page.draw(scene, [-20, 30, 90, 1000])
    np.testing.assert_array_equal(wanted.images[0].box, [0, 30, 90, 240])
    embed = searcher.embed(scene.image, np.array([[0, 30, 90, 240]]))[0]
    np.testing.assert_allclose(wanted.embed, embed, atol=1e-6)


@pytest.mark.parametrize("box", [None, [], [1, 2, 3], "1234", ["a"] * 4, {}, [[1], [2, 3]]])
def test_a_box_that_is_none(page, scene, box):
    with pytest.raises(QueryError, match="a box is four numbers"):
        page.draw(scene, box)


@pytest.mark.parametrize("box", [[9, 9, 9, 9], [400, 0, 500, 90], [0, 0, float("nan"), 50]])
def test_a_box_that_shows_nothing(page, scene, box):
    with pytest.raises(QueryError, match="shows nothing of the picture, which is 320x240"):
        page.draw(scene, box)


def test_search_obeys_the_filter(page, scene, gallery):
    wanted = page.pick(scene, 1)
    one = page.search(wanted, gallery.uri, SearchOptions(where=Filter(cameras=("c0",)))).hits
    assert {h.camera for h in one} == {"c0"} and len(one) == 2
    assert len(page.search(wanted, gallery.uri, SearchOptions(best_per_frame=False)).hits) == 12
    assert len(page.search(wanted, gallery.uri, SearchOptions(top_k=2)).hits) == 2
    assert page.search(wanted, gallery.uri, SearchOptions(where=Filter(min_score=1.1))).hits == []


def test_search_gives_no_more_than_the_most(page, scene, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "person_search.gallery.serve.page.search",
        lambda gallery, queries, options: asked.append(options.top_k) or [None],
    )
    page.search(page.pick(scene, 1), "memory:", SearchOptions(top_k=10**9))
    assert asked == [MOST_HITS]


def test_a_threshold_decides_by_the_persons_that_are_searched(searcher, gallery, page, scene):
    """Of 12 persons, 6 of them at either camera; the threshold lies above all but the first."""
    wanted, sizes = page.pick(scene, 1), []
    assert page.search(wanted, gallery.uri).in_gallery is None  # this page has no thresholds
    two = page.search(wanted, gallery.uri, SearchOptions(top_k=2)).hits
    best, second = (hit.similarity for hit in two)

    def thresholds(gallery, where: Filter) -> Threshold:
        sizes.append(gallery.count(where))
        return Threshold((best + second) / 2)

    deciding = SearchPage(searcher, [gallery], [Pictures([])], thresholds)
    found = deciding.search(wanted, gallery.uri)
    assert found.decision == "in the gallery" and len(found.hits) == 1
    of_camera = SearchOptions(where=Filter(cameras=("c0",)))  # the scene is of c1
    found = deciding.search(wanted, gallery.uri, of_camera)
    assert not found.in_gallery and found.best < best and found.hits == []
    assert sizes == [12, 6]
    found = deciding.search(wanted, gallery.uri, decide=False)
    assert found.in_gallery is None and len(found.hits) == 4 and sizes == [12, 6]


def test_re_ranking_lists_the_same_rows(page, gallery, scene):
    plain, reranked = (
        page.search(
            page.pick(scene, 1), gallery.uri, SearchOptions(best_per_frame=False, rerank=rerank)
        ).hits
        for rerank in (False, True)
    )
    rows = [{(h.picture, h.number): round(h.similarity, 5) for h in f} for f in (plain, reranked)]
    assert rows[0] == rows[1] and len(rows[0]) == 12


def test_another_gallery_is_not_opened(page, scene, tmp_path):
    with pytest.raises(GalleryError, match="is none of the galleries of this page"):
        page.search(page.pick(scene, 1), str(tmp_path))
    with pytest.raises(GalleryError, match="is none of the galleries"):
        page.contents("/etc")


def test_a_gallery_of_another_model_is_refused(searcher, gallery):
    other = open_gallery("memory:", replace(searcher.model, weights_hash="other"))
    with pytest.raises(GalleryError, match="made with another model .weights: other"):
        SearchPage(searcher, [gallery, other], [Pictures([])] * 2)


def test_contents_follow_a_gallery_that_grows(searcher):
    gallery = open_gallery("memory:", searcher.model)
    page = SearchPage(searcher, [gallery], [Pictures([])])
    count, contents = page.contents("memory:")
    assert (count, dict(contents.cameras), contents.first, contents.last) == (0, {}, None, None)
    embeds = np.eye(2, searcher.model.dim, dtype=np.float32)
    gallery.upsert(Persons.of_frame(np.ones((2, 4)), np.ones(2), embeds, "a", camera="x"))
    gallery.upsert(Persons.of_frame(np.ones((2, 4)), np.ones(2), embeds, "b", time=1000))
    count, contents = page.contents("memory:")
    assert (count, dict(contents.cameras)) == (4, {"x": 2, "": 2})
    assert contents.first == contents.last and contents.first.year == 1970


# ------------------------------------------------------------------------------- what may be read


def test_only_scenes_that_the_user_named_are_read(page, gallery, scene):
    """The fourth picture exists, rows name it, the gallery lists it: it is not opened."""
    hits = page.search(page.pick(scene, 1), gallery.uri).hits
    cards = page.cards(gallery.uri, hits)
    assert cards.count('class="hit"') == 4 and cards.count("<svg") == 3
    assert cards.count("not opened: outside of the folders that you named") == 1


# ---------------------------------------------------------------------------------- what is dropped


def test_formats(page):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        assert page.detect(encoded(image, kind), "a").image.shape == (60, 80, 3)
    for kind in ("TIFF", "GIF", "JPEG2000", "PDF"):
        with pytest.raises(ImageError, match="drop a JPEG, PNG, WEBP, BMP file"):
            page.detect(encoded(image, kind), "a")


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_what_is_no_picture(page, data):
    with pytest.raises(ImageError, match="a.jpg is not a picture"):
        page.detect(data, "a.jpg")


def test_a_truncated_picture(page, street_frames):
    data = Path(street_frames[0]).read_bytes()
    with pytest.raises(ImageError, match="truncated JPEG: a.jpg"):
        page.detect(data[: len(data) // 2], "a.jpg")


def test_a_small_file_of_too_many_pixels(page):
    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    size = struct.pack(">IIBBBBB", 20000, 10000, 1, 0, 0, 0, 0)  # 1 bit per pixel, gray
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0"))
    with pytest.raises(ImageError, match="more than 178 megapixels: shrink it"):
        page.detect(data, "bomb.png")


# -------------------------------------------------------------------------------------------- HTML


def nested() -> Scene:
    """A child in front of a grown-up: its box lies within the other."""
    boxes = np.float32([[10, 10, 60, 90], [30, 50, 50, 88]])
    return Scene(NASTY, b"", (100, 80), "data:,", Detections(boxes, np.ones(2), np.eye(2)))


def test_the_smaller_box_lies_on_top_so_that_a_click_hits_it():
    text = scene_html(nested())
    assert text.index('data-number="1"') < text.index('data-number="2"')
    swapped = nested()
    boxes = swapped.found.boxes[::-1]
    text = scene_html(replace(swapped, found=replace(swapped.found, boxes=boxes)))
    assert text.index('data-number="2"') < text.index('data-number="1"')


def test_who_is_looked_for_is_marked(page):
    scene = nested()
    assert "picked" not in scene_html(scene)
    text = scene_html(scene, page.pick(scene, 2))
    assert text.count("picked") == 1 and 'class="person picked" data-number="2"' in text
    text = scene_html(scene, replace_box(page.pick(scene, 2), [1, 2, 3, 40]))
    assert text.count("picked") == 1 and '<g class="person picked"><rect class="under" x="1' in text


def replace_box(wanted, box):
    return replace(wanted, images=[replace(wanted.images[0], box=np.float64(box))])


def test_names_are_escaped_and_nobody_is_said_to_be_there():
    scene = nested()
    text = scene_html(replace(scene, found=Detections(np.zeros((0, 4)), np.zeros(0), np.eye(0))))
    assert "<script" not in text and "nobody was found" in text
    assert "Drag a box around a person." in text


def test_the_page_is_made_of_what_the_package_holds():
    for name in ("report/report.css", "report/report.js", "serve/app.css", "serve/scene.css"):
        text = asset(name)
        assert text and "http" not in text and "@import" not in text
