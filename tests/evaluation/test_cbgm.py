"""Context matching against assignments solved one by one."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_scenes import random_results

from person_search.evaluation import CBGM, evaluate_search
from person_search.evaluation.cbgm import rerank_with_context

SEEDS = st.integers(0, 10**9)


def best_matching(weights: np.ndarray) -> list[tuple[int, int]]:
    """Of all ways to use up the smaller side, the (row, column) pairs of the largest total."""
    if weights.shape[0] > weights.shape[1]:
        return [(row, column) for column, row in best_matching(weights.T)]
    ways = permutations(range(weights.shape[1]), weights.shape[0])
    return list(enumerate(max(ways, key=lambda way: sum(weights[i, j] for i, j in enumerate(way)))))


def slow_rerank(similarity, context, embeddings, offsets, n_top):
    similarity = similarity.copy()
    finite = [i for i in np.argsort(-similarity, kind="stable") if similarity[i] > -np.inf]
    frames = {int(np.searchsorted(offsets, i, "right")) - 1 for i in finite[:n_top]}
    for frame in frames:
        rows = np.arange(offsets[frame], offsets[frame + 1])
        weights = context @ embeddings[rows].T
        matching = dict(best_matching(weights))
        if 0 in matching:
            similarity[rows[matching[0]]] = max(weights[pair] for pair in matching.items())
    return similarity


@settings(deadline=None, max_examples=100)
@given(SEEDS, st.integers(1, 8), st.integers(1, 4))
def test_reranking_equals_plain_loops(seed, n_top, n_context):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 7, rng.integers(1, 40))
    offsets = np.cumsum([0, *lengths])
    embeddings = rng.standard_normal((offsets[-1], 8)).astype(np.float32)
    context = rng.standard_normal((n_context, 8)).astype(np.float32)
    similarity = embeddings @ context[0]
    outside = np.repeat(rng.random(len(lengths)) < 0.3, lengths)
    similarity[outside] = -np.inf
    expected = slow_rerank(similarity, context, embeddings, offsets, n_top)
    rerank_with_context(similarity, context, embeddings, offsets, n_top)
    np.testing.assert_allclose(similarity, expected, rtol=1e-5, atol=1e-6)


def test_a_companion_lifts_the_query():
    """In frame 1 the companion is sure, so that the unsure person beside is taken for the query."""
    offsets = np.array([0, 1, 3])
    embeddings = np.array([[0.5, 0.0], [0.4, 0.1], [0.1, 0.9]], np.float32)
    context = np.eye(2, dtype=np.float32)
    similarity = embeddings @ context[0]
    rerank_with_context(similarity, context, embeddings, offsets, n_top=3)
    # Frame 0: the query takes the only person. Frame 1: it takes over the 0.9 of its companion.
    np.testing.assert_allclose(similarity, [0.5, 0.9, 0.1])


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.booleans())
def test_the_query_alone_changes_nothing(seed, lists):
    """Matching the query alone gives its best detection of a frame the similarity it has."""
    results = random_results(np.random.default_rng(seed), lists)
    own = results.qctx_offsets[:-1]
    results.qctx_embs[own] = results.query_embs
    plain, alone = evaluate_search(results), evaluate_search(results, cbgm=CBGM(k1=5, k2=1))
    np.testing.assert_array_equal(plain.ap, alone.ap)
    np.testing.assert_array_equal(plain.hits, alone.hits)
    assert alone.protocol["cbgm"] == {"k1": 5, "k2": 1}


def test_context_is_needed():
    results = random_results(np.random.default_rng(0), lists=False)
    object.__setattr__(results, "qctx_embs", None)
    with pytest.raises(ValueError, match="qctx_embs"):
        evaluate_search(results, cbgm=CBGM(5, 2))
