"""k-reciprocal re-ranking against the paper, set by set, and what it leaves alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_scenes import random_results

from person_search.evaluation import CBGM, KReciprocal, evaluate_search
from person_search.evaluation.reranking import k_reciprocal_distance, rerank_k_reciprocal


def by_the_paper(points: np.ndarray, k1: int, k2: int, weight: float) -> np.ndarray:
    """Sections 3.2 to 3.5 with Python sets; distances of point 0 to the others."""
    number = len(points)
    distance = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    distance = distance / distance.max(axis=1, keepdims=True)
    every = range(number)
    order = [sorted(every, key=lambda j, i=i: (j != i, distance[i, j])) for i in every]

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    features = np.zeros((number, number))
    for i in range(number):
        found = reciprocal(i, k1)
        for j in sorted(found):
            half = reciprocal(j, round(k1 / 2))
            if len(half & reciprocal(i, k1)) > 2 / 3 * len(half):
                found = found | half
        for j in found:
            features[i, j] = np.exp(-distance[i, j])
        features[i] /= features[i].sum()
    features = np.stack([features[order[i][:k2]].mean(axis=0) for i in range(number)])
    result = []
    for j in range(1, number):
        shared = np.minimum(features[0], features[j]).sum()
        union = np.maximum(features[0], features[j]).sum()
        result.append((1 - weight) * (1 - shared / union) + weight * distance[0, j])
    return np.array(result)


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(2, 30),
    k1=st.integers(1, 9),
    k2=st.integers(1, 6),
    weight=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_equals_the_paper(number, k1, k2, weight, seed):
    points = np.random.default_rng(seed).normal(size=(number, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = k_reciprocal_distance(points, KReciprocal(k1, min(k2, number), weight))
    np.testing.assert_allclose(found, by_the_paper(points, k1, k2, weight), atol=2e-5)


def test_by_hand():
    """On a line: query 0, its twin 1, a third 3; k1 = 1, k2 = 1.

    Squares over the largest of the row: (0, 1, 9) / 9, (1, 0, 4) / 4, (9, 4, 0) / 9. Query and twin
    are each other's neighbor, {0, 1} both; the third's is the twin, not the other way: {2}. So the
    third shares nothing: 1. Query: e^0 and e^-1/9 over their sum, twin: e^-1/4 and e^0.
    """
    q = np.array([1, np.exp(-1 / 9)]) / (1 + np.exp(-1 / 9))
    twin = np.array([np.exp(-1 / 4), 1]) / (1 + np.exp(-1 / 4))
    jaccard = 1 - np.minimum(q, twin).sum() / np.maximum(q, twin).sum()
    points = np.array([[0.0], [1.0], [3.0]])
    found = k_reciprocal_distance(points, KReciprocal(1, 1, 0.3))
    np.testing.assert_allclose(found, [0.7 * jaccard + 0.3 / 9, 0.7 + 0.3], atol=1e-6)


def test_what_is_not_re_ranked_keeps_its_order_behind():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(40, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    before = embeddings @ embeddings[0]
    before[[3, 5]] = -np.inf
    after = before.copy()
    rerank_k_reciprocal(after, embeddings[0], embeddings, KReciprocal(4, 2, 0.3, n_top=10))
    old, new = np.argsort(-before, kind="stable"), np.argsort(-after, kind="stable")
    assert set(old[:10]) == set(new[:10])
    np.testing.assert_array_equal(old[10:], new[10:])
    assert np.isneginf(after[[3, 5]]).all() and np.isneginf(after).sum() == 2
    assert after[new[9]] >= 0 > after[new[10]]


def test_an_empty_gallery_stays_empty():
    row = np.full(3, -np.inf, np.float32)
    rerank_k_reciprocal(row, np.ones(2), np.ones((3, 2), np.float32), KReciprocal())
    assert np.isneginf(row).all()


def test_the_metrics_name_it():
    results = random_results(np.random.default_rng(3), lists=False)
    metrics = evaluate_search(results, rerank=KReciprocal(5, 2, 0.3, 50))
    wanted = {"k1": 5, "k2": 2, "weight": 0.3, "n_top": 50}
    assert metrics.protocol["rerank"] == wanted
    assert evaluate_search(results).protocol["rerank"] is None
    with pytest.raises(ValueError, match="exclude"):
        evaluate_search(results, rerank=KReciprocal(), cbgm=CBGM(3, 2))
