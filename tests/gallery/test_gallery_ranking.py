"""Thresholds and re-ranking of hits, against the evaluator's re-ranking of the same rows."""

import numpy as np
import pytest
from gallery_rows import PER_FRAME, frames, model, unit

from person_search.evaluation.reranking import KReciprocal, rerank_k_reciprocal
from person_search.gallery import open_gallery
from person_search.gallery.ranking import rank


@pytest.fixture(scope="module")
def persons():
    return frames(range(30))


@pytest.fixture(scope="module")
def gallery(persons):
    gallery = open_gallery("memory:", model())
    gallery.upsert(persons)
    return gallery


def rows_of(hits) -> list[tuple[str, int]]:
    return [(hit.picture, hit.number) for hit in hits]


@pytest.mark.parametrize("n_top", [1000, 100])
def test_the_order_is_that_of_the_evaluator(gallery, persons, monkeypatch, n_top):
    options = KReciprocal(n_top=n_top)
    monkeypatch.setattr("person_search.gallery.ranking.KReciprocal", lambda: options)
    queries = unit(3, seed=50)
    found = rank(gallery, queries, 25, best_per_frame=False, rerank=True)
    for query, hits in zip(queries, found, strict=True):
        cosine = persons.embed @ query
        similarity = cosine.copy()
        rerank_k_reciprocal(similarity, query, persons.embed, options)
        order = np.argsort(-similarity, kind="stable")[:25]
        assert rows_of(hits) == [(persons.picture[i], persons.number[i]) for i in order]
        np.testing.assert_allclose([h.similarity for h in hits], cosine[order], atol=1e-6)
        assert rows_of(hits) != rows_of(rank(gallery, query[None], 25, best_per_frame=False)[0])
        assert all(hit.embed is None for hit in hits)


def test_own_scenes_take_no_part_in_re_ranking(gallery, persons):
    query, own = persons.embed[:1], {("/pictures/0.jpg", 0.0)}
    (hits,) = rank(gallery, query, 10, without=own, rerank=True, best_per_frame=False)
    others = persons.embed[PER_FRAME:]
    similarity = others @ query[0]
    rerank_k_reciprocal(similarity, query[0], others, KReciprocal())
    order = np.argsort(-similarity, kind="stable")[:10] + PER_FRAME
    assert rows_of(hits) == [(persons.picture[i], persons.number[i]) for i in order]


@pytest.mark.parametrize("rerank", [False, True])
def test_a_threshold_on_the_cosine(gallery, persons, rerank):
    (query,) = queries = unit(1, seed=51)
    cosine = np.sort(persons.embed @ query)[::-1]
    (hits,) = rank(gallery, queries, 500, None, False, threshold=cosine[40], rerank=rerank)
    np.testing.assert_allclose(sorted(h.similarity for h in hits)[::-1], cosine[:41], atol=1e-6)
    assert len(rank(gallery, queries, 5, threshold=cosine[40], rerank=rerank)[0]) == 5
    assert rank(gallery, queries, 5, threshold=cosine[0] + 1e-3, rerank=rerank) == [[]]


def test_an_empty_gallery_has_nothing_to_re_rank():
    assert rank(open_gallery("memory:", model()), unit(2, 0), rerank=True) == [[], []]
