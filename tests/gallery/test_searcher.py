"""PersonSearcher: the same boxes and embeddings as in evaluation, for any picture."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from gallery_rows import unit
from street_runs import registered

from person_search import add_person_search_config, read_config
from person_search.data import build_test_loader
from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError, GalleryError, ImageError, QueryError, WeightsError
from person_search.gallery import Filter, Persons, PersonSearcher, open_gallery
from person_search.gallery import searcher as searching
from person_search.gallery.ranking import fuse, rank


def test_as_in_evaluation(searcher, tiny, street_root):
    """Detections and given boxes of every test frame, against the evaluator's way to them."""
    with registered(street_root):
        cfg = read_config(tiny.config, [*tiny.opts, "MODEL.REID.NUM_IDS", 1])
        model = build_model(cfg).eval()
        PersonSearchCheckpointer(model).load(tiny.weights)
        files = [r["file_name"] for r in DatasetCatalog.get("street_tiny_test")]
        queries = 0
        for batch in build_test_loader(cfg, "street_tiny_test"):
            with torch.no_grad():
                outputs = model(batch)
            for x, output in zip(batch, outputs, strict=True):
                path = files[x["frame_index"]]
                found, wanted = searcher.detect(path), output["instances"]
                assert len(found) == len(wanted) > 0
                np.testing.assert_allclose(found.boxes, wanted.pred_boxes.tensor, atol=1e-3)
                np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
                np.testing.assert_allclose(found.embeds, wanted.pred_embeds, atol=1e-5)
                if "query_boxes" in x:
                    scale = x["width"] / x["image"].shape[2]
                    boxes = x["query_boxes"].numpy() * scale
                    embeds = searcher.embed(cv2.imread(path), boxes)
                    np.testing.assert_allclose(embeds, output["query_embeds"], atol=1e-4)
                    queries += len(boxes)
        assert queries >= 12


def test_a_picture_is_a_path_or_an_array(searcher, street_frames):
    by_path = searcher.detect(street_frames[0])
    by_array = searcher.detect(cv2.imread(street_frames[0]))
    for name in ("boxes", "scores", "embeds"):
        np.testing.assert_array_equal(getattr(by_path, name), getattr(by_array, name))


def test_the_order_of_colors_follows_the_config(tiny, searcher, street_frames):
    bgr = PersonSearcher.from_config(
        tiny.config, tiny.weights, [*tiny.opts, "INPUT.FORMAT", "BGR"], device="cpu"
    )
    image = cv2.imread(street_frames[0])
    given = [x.prepare(image)["image"] for x in (searcher, bgr)]
    assert searcher.mapper.image_format == "RGB"
    torch.testing.assert_close(given[0], given[1].flip(0))
    with pytest.raises(GalleryError, match="another model .config: "):
        bgr.search(image, [0, 0, 50, 90], open_gallery("memory:", searcher.made_by))


def test_a_key_of_a_later_version_makes_no_other_model(tiny, monkeypatch):
    cfg = read_config(tiny.config, tiny.opts)
    before = searching._hash_config(cfg)

    def later_version(cfg):
        add_person_search_config(cfg)
        cfg.MODEL.REID.LATER = 1

    monkeypatch.setattr(searching, "add_person_search_config", later_version)
    cfg.MODEL.REID.LATER = 1
    assert searching._hash_config(cfg) == before
    cfg.MODEL.REID.LATER = 2
    assert searching._hash_config(cfg) != before


def test_a_detection_finds_itself_in_a_gallery(searcher, street_frames):
    gallery = open_gallery("memory:", searcher.made_by)
    for path in street_frames[:4]:
        found = searcher.detect(path)
        gallery.upsert(Persons.of_frame(found.boxes, found.scores, found.embeds, path))
    box = searcher.detect(street_frames[2]).boxes[1]
    hits = searcher.search(street_frames[2], box, gallery, top_k=3)
    assert hits[0].picture == street_frames[2]
    assert hits[0].similarity == pytest.approx(1, abs=1e-4)
    assert len({h.picture for h in hits}) == 3
    every = searcher.search(street_frames[2], box, gallery, top_k=12, best_per_frame=False)
    assert len(every) == gallery.count() > 3
    one = searcher.search(
        street_frames[2], box, gallery, where=Filter(pictures=(street_frames[0],))
    )
    assert [h.picture for h in one] == [street_frames[0]]


@pytest.mark.parametrize(
    "box",
    [[400, 10, 500, 60], [-50, 10, 0, 60], [20, 60, 10, 90], [5, 5, 6, 80], [0, 0, np.nan, 9]],
)
def test_a_box_outside_the_picture(searcher, street_frames, box):
    with pytest.raises(QueryError, match="shows nothing of the picture, which is 320x240"):
        searcher.embed(street_frames[0], [box])


def test_a_box_is_clipped_to_the_picture(searcher, street_frames):
    outside, inside = searcher.embed(street_frames[0], [[-30, -10, 1000, 2000], [0, 0, 320, 240]])
    np.testing.assert_allclose(outside, inside, atol=1e-6)
    assert searcher.embed(street_frames[0], np.zeros((0, 4))).shape == (0, searcher.made_by.dim)


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9)), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), "u1")]
)
def test_an_array_that_is_no_picture(searcher, image):
    with pytest.raises(ImageError, match="uint8 array in the order BGR"):
        searcher.detect(image)


def test_a_blank_picture_is_no_trouble(searcher):
    found = searcher.detect(np.zeros((50, 400, 3), np.uint8))
    assert found.boxes.shape == (len(found), 4) and found.embeds.shape[1] == searcher.made_by.dim


def test_the_model_of_a_gallery(searcher, tiny, street_frames, tmp_path):
    gallery = open_gallery("memory:", searcher.made_by)
    again = PersonSearcher.from_gallery(gallery, device="cpu")
    assert again.made_by == gallery.model
    np.testing.assert_array_equal(
        again.detect(street_frames[0]).embeds, searcher.detect(street_frames[0]).embeds
    )
    with pytest.raises(WeightsError, match="say with --weights where it is now"):
        PersonSearcher.from_gallery(gallery, str(tmp_path / "moved.pth"))
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(GalleryError, match="was made with other weights than"):
        PersonSearcher.from_gallery(gallery, str(tmp_path / "other.pth"))


def test_models_that_are_none(tiny, tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        PersonSearcher.from_config(tiny.config, str(tmp_path / "nowhere.pth"), tiny.opts)
    with pytest.raises(ConfigError, match="nowhere.yaml"):
        PersonSearcher.from_config("nowhere.yaml", tiny.weights)


def test_fuse_is_the_mean_direction():
    embeds = np.float32([[1, 0], [0, 1]])
    np.testing.assert_allclose(fuse(embeds), [[0.5**0.5, 0.5**0.5]], atol=1e-6)
    np.testing.assert_allclose(fuse(embeds[:1]), embeds[:1])


def test_rank_asks_on_until_there_are_enough_frames(searcher):
    """200 persons of one frame are nearer than those of all others."""
    gallery = open_gallery("memory:", searcher.made_by)
    dim = searcher.made_by.dim
    query = np.eye(dim, dtype=np.float32)[:1]

    def crowd(number: int, near: float, picture: str, seconds: float = 0.0) -> Persons:
        embeds = np.zeros((number, dim), np.float32)
        embeds[:, 0], embeds[:, 1] = near, (1 - near**2) ** 0.5
        return Persons.of_frame(
            np.ones((number, 4)), np.ones(number), embeds, picture, int(seconds * 25), seconds
        )

    gallery.upsert(crowd(200, 0.9, "crowd.jpg"))
    for i in range(3):
        gallery.upsert(crowd(5, 0.5 - i / 10, f"{i}.jpg"))
    for seconds in (10.0, 10.8, 12.0):
        gallery.upsert(crowd(1, 0.1, "film.mp4", seconds))
    names = [h.picture for h in rank(gallery, query, top_k=4)[0]]
    assert names == ["crowd.jpg", "0.jpg", "1.jpg", "2.jpg"]
    assert len(rank(gallery, query, top_k=999)[0]) == 7
    own = {("0.jpg", 0.0), ("film.mp4", 10.5)}
    rest = rank(gallery, query, top_k=999, without=own)[0]
    assert [(h.picture, h.seconds) for h in rest] == [
        ("crowd.jpg", 0), ("1.jpg", 0), ("2.jpg", 0), ("film.mp4", 12)
    ]  # fmt: skip
    assert len(rank(gallery, query, 999, best_per_frame=False, without=own)[0]) == 211


def test_unit_embeddings_of_another_size_are_refused(searcher):
    gallery = open_gallery("memory:", searcher.made_by)
    with pytest.raises(GalleryError, match=f"embeddings of size {searcher.made_by.dim}, these"):
        rank(gallery, unit(1, 0))
