"""Random sub-galleries: who stays in, how many, and that draws can be compared."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_scenes import QUERY_ID, Frame, G, random_results, scene

from person_search.evaluation import evaluate_search, resolve_galleries, sample_galleries

SEEDS = st.integers(0, 10**9)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.booleans(), st.integers(1, 8), st.integers(0, 3))
def test_targets_stay_and_others_fill_up(seed, lists, size, draw):
    whole = resolve_galleries(random_results(np.random.default_rng(seed), lists))
    part = sample_galleries(whole, size, draw)
    assert not (part.searched & ~whole.searched).any()
    query = np.repeat(np.arange(len(whole.sizes)), whole.n_targets)
    assert part.searched[query, whole.target_frames].all()
    wanted = np.maximum(np.minimum(size, whole.sizes), whole.n_targets)
    np.testing.assert_array_equal(part.sizes, wanted)
    # Smaller galleries of one draw lie within larger ones.
    assert not (part.searched & ~sample_galleries(whole, size + 1, draw).searched).any()


def test_a_draw_depends_on_its_seed_alone():
    frames = [Frame("Q", [(G, QUERY_ID)], cam=1), Frame("T", [(G, QUERY_ID)])]
    whole = resolve_galleries(scene(frames + [Frame(f"f{i}") for i in range(40)]))
    draws = [sample_galleries(whole, 20, seed).searched for seed in (0, 0, 1)]
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()
    # The rule says what was drawn, and from what.
    rule = sample_galleries(whole, 20, 1).rule
    assert "20 of all frames but the query's own" in rule and "draw 1" in rule


def test_fewer_frames_can_only_help_a_query():
    # The only match has similarity .5, ten of forty other frames hold something more similar: AP
    # is 1 / (1 + those of the ten that were drawn).
    frames = [Frame("Q", [(G, QUERY_ID)]), Frame("T", [(G, QUERY_ID)], [(G, 0.5)])]
    frames += [Frame(f"f{i}", [], [(G, 0.9 if i < 10 else 0.1)]) for i in range(40)]
    results = scene(frames)
    whole = resolve_galleries(results)
    for size in (1, 5, 20, 41):
        part = sample_galleries(whole, size, seed=3)
        ahead = part.searched[0, 2:12].sum()
        assert evaluate_search(results, part).ap[0] == pytest.approx(1 / (1 + ahead))
    assert ahead == 10


def test_a_gallery_of_no_frame_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        sample_galleries(resolve_galleries(scene([Frame("Q")])), 0, 0)
