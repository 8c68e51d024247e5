"""A search: hits of different frames, thresholds, and the evaluator's own re-ranking."""

import numpy as np
import pytest
from gallery_rows import DIM, PER_FRAME, frames, model, unit

from person_search.errors import GalleryError
from person_search.evaluation.reranking import KReciprocal, rerank_k_reciprocal
from person_search.gallery import GalleryIndex, Hit, Persons, open_gallery
from person_search.gallery.calibration import Threshold
from person_search.gallery.queries import Query, QueryImage
from person_search.gallery.search import SearchOptions, SearchResult, search


@pytest.fixture(scope="module")
def persons():
    return frames(range(30))


@pytest.fixture(scope="module")
def gallery(persons):
    gallery = open_gallery("memory:", model())
    gallery.upsert(persons)
    return gallery


def find(
    gallery: GalleryIndex, embeds: np.ndarray, own: tuple[tuple[str, float], ...] = (), **options
) -> list[SearchResult]:
    """Search with (Q, D) embeddings, of persons who are seen in ``own`` (picture, seconds)."""
    image, box = np.zeros((9, 9, 3), np.uint8), np.array([0, 0, 9, 9])
    images = [QueryImage(*scene, image, box) for scene in own]
    queries = [Query("somebody", images, embed) for embed in embeds]
    return search(gallery, queries, SearchOptions(**options, leave_out_own_scene=bool(own)))


def rows_of(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.picture, hit.number) for hit in hits]


@pytest.mark.parametrize("n_top", [1000, 100])
def test_the_order_is_that_of_the_evaluator(gallery, persons, monkeypatch, n_top):
    options = KReciprocal(n_top=n_top)
    monkeypatch.setattr("person_search.gallery.search.KReciprocal", lambda: options)
    queries = unit(3, seed=50)
    found = find(gallery, queries, top_k=25, best_per_frame=False, rerank=True)
    for query, result in zip(queries, found, strict=True):
        hits = result.hits
        cosine = persons.embed @ query
        similarity = cosine.copy()
        rerank_k_reciprocal(similarity, query, persons.embed, options)
        order = np.argsort(-similarity, kind="stable")[:25]
        assert rows_of(hits) == [(persons.picture[i], persons.number[i]) for i in order]
        np.testing.assert_allclose([h.similarity for h in hits], cosine[order], atol=1e-6)
        (plain,) = find(gallery, query[None], top_k=25, best_per_frame=False)
        assert rows_of(hits) != rows_of(plain.hits)
        assert result.best == plain.best == pytest.approx(cosine.max(), abs=1e-6)


def test_own_scenes_take_no_part_in_re_ranking(gallery, persons):
    query, own = persons.embed[:1], (("/pictures/0.jpg", 0.0),)
    (result,) = find(gallery, query, own, top_k=10, rerank=True, best_per_frame=False)
    others = persons.embed[PER_FRAME:]
    similarity = others @ query[0]
    rerank_k_reciprocal(similarity, query[0], others, KReciprocal())
    order = np.argsort(-similarity, kind="stable")[:10] + PER_FRAME
    assert rows_of(result.hits) == [(persons.picture[i], persons.number[i]) for i in order]
    assert result.best == pytest.approx((others @ query[0]).max(), abs=1e-6)


@pytest.mark.parametrize("rerank", [False, True])
def test_a_threshold_on_the_cosine(gallery, persons, rerank):
    (query,) = queries = unit(1, seed=51)
    cosine = np.sort(persons.embed @ query)[::-1]

    def found(top_k: int, least: float, **options) -> SearchResult:
        options |= {"threshold": Threshold(float(least)), "rerank": rerank}
        return find(gallery, queries, top_k=top_k, **options)[0]

    result = found(500, cosine[40], best_per_frame=False)
    listed = sorted((hit.similarity for hit in result.hits), reverse=True)
    np.testing.assert_allclose(listed, cosine[:41], atol=1e-6)
    assert result.in_gallery and result.decision == "in the gallery"
    assert len(found(5, cosine[40]).hits) == 5
    nobody = found(5, cosine[0] + 1e-3)
    assert nobody.hits == [] and nobody.best == pytest.approx(cosine[0], abs=1e-6)
    assert nobody.in_gallery is False
    assert nobody.decision == f"not in the gallery: the most similar has {cosine[0]:.3f}"


def test_an_empty_gallery(gallery):
    empty = open_gallery("memory:", model())
    for result in find(empty, unit(2, 0), rerank=True, threshold=Threshold(0.5)):
        assert result.hits == [] and result.best is None
        assert result.decision == "not in the gallery: nobody fits"
    (plain,) = find(empty, unit(1, 0))
    assert plain.in_gallery is None and plain.decision == ""


def near(number: int, similarity: float, picture: str, seconds: float = 0.0) -> Persons:
    """Persons of one frame, 25 a second, whose cosine to the first axis is ``similarity``."""
    embeds = np.zeros((number, DIM), np.float32)
    embeds[:, 0], embeds[:, 1] = similarity, (1 - similarity**2) ** 0.5
    return Persons.of_frame(
        np.ones((number, 4)), np.ones(number), embeds, picture, int(seconds * 25), seconds
    )


def test_it_asks_on_until_there_are_enough_frames():
    """200 persons of one frame are nearer than those of all others."""
    gallery, query = open_gallery("memory:", model()), np.eye(DIM, dtype=np.float32)[:1]
    gallery.upsert(near(200, 0.9, "/crowd.jpg"))
    for i in range(3):
        gallery.upsert(near(5, 0.5 - i / 10, f"/{i}.jpg"))
    for seconds in (10.0, 10.8, 12.0):
        gallery.upsert(near(1, 0.1, "/film.mp4", seconds))
    (result,) = find(gallery, query, top_k=4)
    assert [h.picture for h in result.hits] == ["/crowd.jpg", "/0.jpg", "/1.jpg", "/2.jpg"]
    assert len(find(gallery, query, top_k=999)[0].hits) == 7
    own = (("/0.jpg", 0.0), ("/film.mp4", 10.5))
    (rest,) = find(gallery, query, own, top_k=999)
    assert [(h.picture, h.seconds) for h in rest.hits] == [
        ("/crowd.jpg", 0), ("/1.jpg", 0), ("/2.jpg", 0), ("/film.mp4", 12)
    ]  # fmt: skip
    assert len(find(gallery, query, own, top_k=999, best_per_frame=False)[0].hits) == 211


def test_the_best_of_others_is_known_though_the_own_scene_is_full():
    """The most similar rows are all of the own scene, and the others lie below the threshold."""
    gallery, query = open_gallery("memory:", model()), np.eye(DIM, dtype=np.float32)[:1]
    gallery.upsert(near(200, 0.9, "/own.jpg"))
    gallery.upsert(near(1, 0.3, "/other.jpg"))
    own = (("/own.jpg", 0.0),)
    (result,) = find(gallery, query, own, top_k=1, threshold=Threshold(0.95))
    assert result.hits == [] and result.best == pytest.approx(0.3)
    assert result.decision == "not in the gallery: the most similar has 0.300"


def test_embeddings_of_another_size_are_refused():
    gallery = open_gallery("memory:", model(dim=9))
    with pytest.raises(GalleryError, match="embeddings of size 9, these are"):
        find(gallery, unit(1, 0))
