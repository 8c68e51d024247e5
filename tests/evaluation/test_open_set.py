"""Open-set metrics: values worked out by hand, brute force, known laws, invariants."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_scenes import QUERY_ID, Frame, G, W, scene

from person_search.errors import ResultsError
from person_search.evaluation import (
    OpenSetCurve,
    OpenSetScores,
    false_alarm_rate,
    fit_open_set,
    held_out_rate,
    open_set,
    open_set_scores,
)

UNIT = 0.05
"""Of the exponential laws below: similarity = UNIT x (an exponential variate of mean 1)."""


def scores_of(strangers, own=(0.9,), persons=None) -> OpenSetScores:
    """Of (Q, M) similarities, all of which are kept."""
    strangers = -np.sort(-np.asarray(strangers, float))
    n_queries, there = strangers.shape
    persons = np.arange(n_queries) if persons is None else persons
    return OpenSetScores(strangers, np.full(n_queries, there), persons, np.array(own, float))


def drawn(seed: int, queries: int = 300, there: int = 60, spread: float = 0.0) -> OpenSetScores:
    """Exponential tails; ``spread``: of the places where those of the queries begin."""
    rng = np.random.default_rng(seed)
    begin = spread * rng.random((queries, 1))
    return scores_of(begin + UNIT * rng.exponential(size=(queries, there)), rng.random(50))


def test_who_is_a_stranger():
    """Boxes of frames without the person, above the score threshold; the person's best box."""
    results = scene(
        [
            Frame("Q", [(G, QUERY_ID)], [(G, 1.0)]),
            Frame("a", [(G, QUERY_ID), (W, 8)], [(G, 0.9), (W, 0.95)]),
            Frame("b", [(W, 8)], [(W, 0.8), (G, 0.3)]),
            Frame("c", [(G, QUERY_ID)], [(G, 0.85)]),
            Frame("d", [], [(G, 0.5), (W, 0.99, 0.1)]),
        ]
    )
    found = open_set_scores(results)
    np.testing.assert_allclose(found.strangers[0, :4], [0.8, 0.5, 0.3, -np.inf])
    assert found.n_strangers.tolist() == [3] and found.persons.tolist() == [QUERY_ID]
    np.testing.assert_allclose(found.own, [0.9])
    np.testing.assert_allclose(open_set_scores(results, det_thresh=0.05).strangers[0, 0], 0.99)


@pytest.mark.parametrize(
    "frames, own",
    [
        ([Frame("a", [(G, QUERY_ID)], [(W, 0.9)])], [-np.inf]),  # was not detected
        ([Frame("a", [(W, 8)], [(W, 0.9)])], []),  # is in no other frame
        ([], []),
    ],
)
def test_a_person_who_is_not_found_or_not_there(frames, own):
    found = open_set_scores(scene([Frame("Q", [(G, QUERY_ID)], [(G, 1.0)]), *frames]))
    assert found.own.tolist() == own


@pytest.mark.parametrize(
    "size, threshold, rate",
    [(1, 0.6, 1 / 3), (1, 0.4, 2 / 3), (2, 0.6, 2 / 3), (2, 0.4, 1), (3, 0.6, 1), (2, 0.95, 0)],
)
def test_false_alarms_by_hand(size, threshold, rate):
    assert false_alarm_rate(scores_of([[0.9, 0.5, 0.1]]), threshold, size) == pytest.approx(rate)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 3))
def test_false_alarms_are_the_mean_over_all_galleries(seed, size, queries):
    rng = np.random.default_rng(seed)
    strangers = rng.integers(0, 5, (queries, 6)) / 5  # with ties
    threshold = rng.integers(0, 6) / 5
    wanted = np.mean(
        [max(g) >= threshold for row in strangers.tolist() for g in combinations(row, size)]
    )
    assert false_alarm_rate(scores_of(strangers), threshold, size) == pytest.approx(wanted)


def test_a_gallery_is_never_larger_than_what_was_there():
    scores = scores_of([[0.9, 0.5, 0.1]])
    assert false_alarm_rate(scores, 0.2, 100) == false_alarm_rate(scores, 0.2, 3) == 1


@pytest.mark.parametrize("ties", [False, True])
def test_a_threshold_is_the_lowest_that_keeps_to_its_rate(ties):
    scores = drawn(0, spread=0.2)
    if ties:
        scores = scores_of(scores.strangers.round(2))
    curve = fit_open_set(scores)
    assert curve.rates[0] == 0.5 and curve.rates[-1] == pytest.approx(10 / 300)
    assert curve.sizes[0] == 1 and curve.sizes[-1] == 60
    for size, thresholds in zip(curve.sizes, curve.thresholds, strict=True):
        for rate, threshold in zip(curve.rates, thresholds, strict=True):
            assert curve.threshold(rate, size) == pytest.approx(threshold, abs=1e-12)
            assert curve.is_counted(rate, size)
            assert false_alarm_rate(scores, threshold, size) <= rate + 1e-9
            assert false_alarm_rate(scores, np.nextafter(threshold, -1), size) > rate - 1e-9


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 10**6), st.sampled_from([0.0, 0.3]),
    st.lists(st.floats(1e-6, 0.5), min_size=2, max_size=2),
    st.lists(st.integers(1, 10**7), min_size=2, max_size=2),
)  # fmt: skip
def test_more_false_alarms_need_less_and_larger_galleries_more(seed, spread, rates, sizes):
    curve = fit_open_set(drawn(seed, queries=60, there=30, spread=spread))
    (fewer, more), (small, large) = sorted(rates), sorted(sizes)
    assert curve.threshold(fewer, small) >= curve.threshold(more, small) - 1e-9
    assert curve.threshold(more, large) >= curve.threshold(more, small) - 1e-9


@pytest.mark.parametrize("size", [10, 200, 5000])
@pytest.mark.parametrize("rate", [0.3, 0.05, 0.001])
def test_a_known_law_is_carried_on(size, rate):
    """The best of n exponential variates exceeds t with 1 - (1 - exp(-t / UNIT))^n."""
    curve = fit_open_set(drawn(1, queries=2000, there=200))
    wanted = -UNIT * np.log(-np.expm1(np.log1p(-rate) / size))
    assert curve.threshold(rate, size) == pytest.approx(wanted, abs=0.05)
    assert curve.is_counted(rate, size) == (size <= 200 and rate >= 0.005)


@pytest.mark.parametrize("rate", [0.3, 0.1, 0.02])
def test_with_queries_that_differ_a_larger_gallery_errs_upwards(rate):
    """What was fitted on 50 strangers, counted on 400: at most the rate that was asked for."""
    all_of_them = drawn(2, queries=1000, there=400, spread=0.5)
    rng = np.random.default_rng(3)
    some = scores_of(rng.permuted(all_of_them.strangers, axis=1)[:, :50])
    found = false_alarm_rate(all_of_them, fit_open_set(some).threshold(rate, 400), 400)
    assert 0 < found <= 1.25 * rate  # of 1000 queries


def test_the_rate_of_others():
    """Of one law all halves are alike; a half that looks alike in itself does not know others."""
    scores = drawn(4, queries=1000, there=50)
    assert held_out_rate(scores, 0.1, 50) == pytest.approx(0.1, abs=0.03)
    calm = scores.strangers.copy()
    calm[::2] *= 0.1  # every other person
    assert held_out_rate(scores_of(calm), 0.1, 50) == pytest.approx(0.5, abs=0.05)
    assert np.isnan(held_out_rate(drawn(5, queries=30), 0.1, 50))


def test_queries_of_somebody_who_is_nearly_everywhere_are_left_out():
    scores = drawn(6, queries=100, there=60)
    scores.n_strangers[:3] = 1
    assert fit_open_set(scores).sizes[-1] == 60


def test_detection_rate():
    curve = fit_open_set(scores_of(np.eye(20), own=np.linspace(0, 1, 201)))
    for threshold, rate in ((-0.5, 1), (0, 1), (0.25, 0.75), (0.9, 0.1), (1.01, 0)):
        assert curve.detection_rate(threshold) == pytest.approx(rate)
    missed = fit_open_set(scores_of(np.eye(20), own=[-np.inf] * 50 + [0.8] * 50))
    assert missed.detection_rate(0.5) == pytest.approx(0.5, abs=0.01)
    assert fit_open_set(scores_of(np.eye(20), own=[])).detection_rate(0.1) == 0


def test_too_little_to_go_by():
    with pytest.raises(ResultsError, match="19 queries say too little .* with 20 or more"):
        fit_open_set(scores_of(np.eye(19)))
    nobody = OpenSetScores(np.full((40, 4), -np.inf), np.zeros(40, int), np.arange(40), np.ones(40))
    with pytest.raises(ResultsError, match="show nobody"):
        fit_open_set(nobody)


def test_only_the_most_similar_strangers_are_kept(monkeypatch):
    monkeypatch.setattr(open_set, "KEPT", 2)
    dets = [(W, similarity) for similarity in (0.1, 0.7, 0.4)]
    found = open_set_scores(scene([Frame("a", [(W, 8)], dets)]))
    np.testing.assert_allclose(found.strangers, [[0.7, 0.4]])
    assert found.n_strangers.tolist() == [3]
    assert false_alarm_rate(found, 0.5, 1) == pytest.approx(1 / 3)


def test_a_curve_as_json_and_back():
    curve = fit_open_set(drawn(7))
    again = OpenSetCurve.from_dict(curve.as_dict())
    for rate, size in ((0.2, 7), (0.001, 60), (0.01, 10**6)):
        assert again.threshold(rate, size) == curve.threshold(rate, size)
    assert again.detection_rate(0.3) == curve.detection_rate(0.3)
