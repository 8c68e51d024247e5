"""PersonSearcher: the same boxes and embeddings as in evaluation, for any picture."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from street_runs import registered

from person_search import add_person_search_config, read_config
from person_search.data import build_test_loader
from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError, GalleryError, ImageError, QueryError, WeightsError
from person_search.gallery import Filter, Persons, PersonSearcher, detectron2_searcher, open_gallery


def test_as_in_evaluation(person_searcher, tiny, street_root):
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
                found, wanted = person_searcher.detect(path), output["instances"]
                assert len(found) == len(wanted) > 0
                np.testing.assert_allclose(found.boxes, wanted.pred_boxes.tensor, atol=1e-3)
                np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
                np.testing.assert_allclose(found.embeds, wanted.pred_embeds, atol=1e-5)
                if "query_boxes" in x:
                    scale = x["width"] / x["image"].shape[2]
                    boxes = x["query_boxes"].numpy() * scale
                    embeds = person_searcher.embed(cv2.imread(path), boxes)
                    np.testing.assert_allclose(embeds, output["query_embeds"], atol=1e-4)
                    queries += len(boxes)
        assert queries >= 12


def test_a_picture_is_a_path_or_an_array(person_searcher, street_frames):
    by_path = person_searcher.detect(street_frames[0])
    by_array = person_searcher.detect(cv2.imread(street_frames[0]))
    for name in ("boxes", "scores", "embeds"):
        np.testing.assert_array_equal(getattr(by_path, name), getattr(by_array, name))


def test_the_order_of_colors_follows_the_config(tiny, person_searcher, street_frames):
    bgr = PersonSearcher.from_config(
        tiny.config, tiny.weights, [*tiny.opts, "INPUT.FORMAT", "BGR"], device="cpu"
    )
    image = cv2.imread(street_frames[0])
    given = [x.searcher._input(image)["image"] for x in (person_searcher, bgr)]
    assert person_searcher.searcher.mapper.image_format == "RGB"
    torch.testing.assert_close(given[0], given[1].flip(0))
    with pytest.raises(GalleryError, match="another model .config: "):
        bgr.search(image, [0, 0, 50, 90], open_gallery("memory:", person_searcher.model))


def test_a_key_of_a_later_version_makes_no_other_model(tiny, monkeypatch):
    cfg = read_config(tiny.config, tiny.opts)
    before = detectron2_searcher._hash_config(cfg)

    def later_version(cfg):
        add_person_search_config(cfg)
        cfg.MODEL.REID.LATER = 1

    monkeypatch.setattr(detectron2_searcher, "add_person_search_config", later_version)
    cfg.MODEL.REID.LATER = 1
    assert detectron2_searcher._hash_config(cfg) == before
    cfg.MODEL.REID.LATER = 2
    assert detectron2_searcher._hash_config(cfg) != before


def test_a_detection_finds_itself_in_a_gallery(person_searcher, street_frames):
    gallery = open_gallery("memory:", person_searcher.model)
    for path in street_frames[:4]:
        found = person_searcher.detect(path)
        gallery.upsert(Persons.of_frame(found.boxes, found.scores, found.embeds, path))
    box = person_searcher.detect(street_frames[2]).boxes[1]
    hits = person_searcher.search(street_frames[2], box, gallery, top_k=3)
    assert hits[0].picture == street_frames[2]
    assert hits[0].similarity == pytest.approx(1, abs=1e-4)
    assert len({h.picture for h in hits}) == 3
    every = person_searcher.search(street_frames[2], box, gallery, top_k=12, best_per_frame=False)
    assert len(every) == gallery.count() > 3
    one = person_searcher.search(
        street_frames[2], box, gallery, where=Filter(pictures=(street_frames[0],))
    )
    assert [h.picture for h in one] == [street_frames[0]]


@pytest.mark.parametrize(
    "box",
    [[400, 10, 500, 60], [-50, 10, 0, 60], [20, 60, 10, 90], [5, 5, 6, 80], [0, 0, np.nan, 9]],
)
def test_a_box_outside_the_picture(person_searcher, street_frames, box):
    with pytest.raises(QueryError, match="shows nothing of the picture, which is 320x240"):
        person_searcher.embed(street_frames[0], [box])


def test_a_box_is_clipped_to_the_picture(person_searcher, street_frames):
    boxes = [[-30, -10, 1000, 2000], [0, 0, 320, 240]]
    outside, inside = person_searcher.embed(street_frames[0], boxes)
    np.testing.assert_allclose(outside, inside, atol=1e-6)
    nothing = person_searcher.embed(street_frames[0], np.zeros((0, 4)))
    assert nothing.shape == (0, person_searcher.model.dim)


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9)), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), "u1")]
)
def test_an_array_that_is_no_picture(person_searcher, image):
    with pytest.raises(ImageError, match="uint8 array in the order BGR"):
        person_searcher.detect(image)


def test_a_blank_picture_is_no_trouble(person_searcher):
    found = person_searcher.detect(np.zeros((50, 400, 3), np.uint8))
    assert found.boxes.shape == (len(found), 4)
    assert found.embeds.shape[1] == person_searcher.model.dim


def test_the_model_of_a_gallery(person_searcher, tiny, street_frames, tmp_path):
    gallery = open_gallery("memory:", person_searcher.model)
    again = PersonSearcher.from_gallery(gallery, device="cpu")
    assert again.model == gallery.model
    np.testing.assert_array_equal(
        again.detect(street_frames[0]).embeds, person_searcher.detect(street_frames[0]).embeds
    )
    with pytest.raises(WeightsError, match="no weights file"):
        PersonSearcher.from_gallery(gallery, str(tmp_path / "moved.pth"))
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(GalleryError, match="was made with other weights than"):
        PersonSearcher.from_gallery(gallery, str(tmp_path / "other.pth"))


def test_models_that_are_none(tiny, tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        PersonSearcher.from_config(tiny.config, str(tmp_path / "nowhere.pth"), tiny.opts)
    with pytest.raises(ConfigError, match="nowhere.yaml"):
        PersonSearcher.from_config("nowhere.yaml", tiny.weights)
