"""The sweep over boxes per image: which detections a point keeps, and what is found with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_scenes import Frame, G, W, random_results, scene

from person_search.evaluation import SWEEPS, Sweep, evaluate_search, search_curves


def three_frames():
    """One detection, none, three: 4 in all, with scores .6; .9 .5 .7."""
    return scene(
        [
            Frame("A", [(G, 7)], [(G, 0.4, 0.6)]),
            Frame("B", [(G, 7)]),
            Frame("C", [(G, 7)], [(W, 0.9, 0.9), (G, 0.5, 0.5), (W, 0.3, 0.7)]),
        ]
    )


def test_the_best_of_every_frame():
    sweep = Sweep.best_of_frame(three_frames())
    # Points: 3, 2, 1 detections of every frame. A's only one is in all of them.
    assert sweep.last_point.tolist() == [3, 3, 1, 2]
    assert sweep.sizes.tolist() == [4, 3, 2]


def test_thresholds_keep_detections_of_at_least_their_score():
    sweep = Sweep.over_thresholds(three_frames(), np.array([0.95, 0.6, 0.0]))
    assert sweep.sizes.tolist() == [4, 3, 0]  # the lowest threshold comes first
    assert sweep.last_point.tolist() == [2, 2, 1, 2]


def test_search_over_boxes_per_image():
    """The person stands in three frames; the detector that is strict misses one of two hits."""
    curves = search_curves(three_frames(), Sweep.best_of_frame(three_frames()))
    # .9 F, .5 T, .4 T, .3 F: (1/2 + 2/3) / 3. Then without .5: F T F: (1/2) / 3. Then F T.
    np.testing.assert_allclose(curves.metrics["mAP"], [7 / 18, 1 / 6, 1 / 6])
    np.testing.assert_allclose(curves.metrics["top-1"], [0, 0, 0])
    np.testing.assert_allclose(curves.boxes_per_image, [4 / 3, 1, 2 / 3])
    assert curves.best()["mAP"] == (pytest.approx(7 / 18), pytest.approx(4 / 3))
    assert curves.at(0.7)["mAP"] == (pytest.approx(1 / 6), pytest.approx(2 / 3))
    assert "all frames but the query's own" in curves.protocol


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), lists=st.booleans(), name=st.sampled_from(list(SWEEPS)))
def test_the_first_point_keeps_all_and_no_later_one_more(seed, lists, name):
    results = random_results(np.random.default_rng(seed), lists)
    if len(results.dets) == 0:
        return
    sweep = SWEEPS[name](results)
    assert sweep.sizes[0] == len(results.dets)
    assert (np.diff(sweep.sizes) <= 0).all()
    curves = search_curves(results, sweep)
    whole = evaluate_search(results, det_thresh=0).summary()
    assert curves.metrics["mAP"][0] == pytest.approx(whole["mAP"], nan_ok=True)
