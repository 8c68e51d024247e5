"""The matches that are shown to people, and the overlap that makes one of them correct."""

from dataclasses import replace

import numpy as np
import pytest
from search_scenes import Frame, G, W, random_results, scene

from person_search.evaluation import evaluate_search, required_iou, resolve_galleries
from person_search.evaluation.matches import best_matches


def matches(results, **options):
    return best_matches(results, resolve_galleries(results), 0, **options)


def names(results, found):
    return [results.frame_names[match.frame] for match in found]


def test_required_iou():
    boxes = np.array([[0, 0, 100, 100], [5, 7, 25, 27], [0, 0, 10, 40], [3, 3, 3, 9.0]])
    # 10000 / 12100 is above 0.5; 400 / 900; 400 / (20 * 50); a box without area needs none.
    np.testing.assert_allclose(required_iou(boxes), [0.5, 4 / 9, 0.4, 0])
    assert required_iou(np.zeros((0, 4))).shape == (0,)


def test_best_frame_first_and_one_match_per_frame():
    results = scene(
        [
            Frame("A", [(G, 7)], [(W, 0.2), (G, 0.5), (W, 0.4)]),
            Frame("Q", [(G, 7)], [(G, 1.0)]),  # the query's own frame is not searched
            Frame("empty"),
            Frame("B", [], [(G, 0.3), (W, 0.9)]),
            Frame("C", [], [(W, -0.1)]),
        ]
    )
    found = matches(results)
    assert names(results, found) == ["B", "A", "C"]
    assert [match.similarity for match in found] == pytest.approx([0.9, 0.5, -0.1])
    np.testing.assert_array_equal([match.box for match in found], [W, G, W])
    assert [match.correct for match in found] == [False, True, False]
    assert names(results, matches(results, number=2)) == ["B", "A"]


def test_a_match_is_correct_only_on_the_right_person():
    results = scene(
        [
            Frame("other person", [(G, 8)], [(G, 0.9)]),
            Frame("beside", [(G, 7)], [(W, 0.8), (G, 0.1)]),  # only the most similar box counts
            Frame("right", [(G, 7), (W, 8)], [(G, 0.7)]),
        ]
    )
    assert [match.correct for match in matches(results)] == [False, False, True]


@pytest.mark.parametrize(("height", "correct"), [(8.9, True), (8.8, False)])
def test_small_persons_need_less_overlap(height, correct):
    # A person of 20 x 20 needs 400 / 900 = 0.444; the found part is 20 x height of it.
    person, part = (0, 0, 20, 20), (0, 0, 20, height)
    (match,) = matches(scene([Frame("A", [(person, 7)], [(part, 0.9)])]))
    assert match.correct is correct


def test_detections_below_the_threshold_are_not_searched():
    results = scene(
        [
            Frame("A", [], [(W, 0.9, 0.49), (G, 0.2, 0.5)]),
            Frame("B", [], [(W, 0.8, 0.3)]),
        ]
    )
    (match,) = matches(results)
    assert match.frame == 0 and match.similarity == pytest.approx(0.2)
    assert names(results, matches(results, det_thresh=0.3)) == ["A", "B"]
    assert matches(results, det_thresh=0.6) == []


def test_equal_similarities_keep_the_order_of_the_gallery():
    frames = [Frame(name, [], [(W, 0.5), (G, 0.5)]) for name in "ABC"]
    ruled = scene(frames)
    assert names(ruled, matches(ruled)) == ["A", "B", "C"]
    listed = scene(frames, lists=[("C", None), ("A", None), ("C", None), ("B", None)])
    found = matches(listed)
    assert names(listed, found) == ["C", "A", "B"]
    np.testing.assert_array_equal([match.box for match in found], [W, W, W])


@pytest.mark.parametrize("lists", [False, True])
def test_a_correct_first_match_is_a_hit_at_one(lists):
    """With one detection per frame both name the same ranking, equal similarities included."""
    rng, n_correct = np.random.default_rng(0), 0
    for _ in range(400):
        results = random_results(rng, lists)
        first = results.det_offsets[:-1][np.diff(results.det_offsets) > 0]
        results = replace(
            results,
            det_offsets=np.r_[0, np.cumsum(np.diff(results.det_offsets) > 0)],
            dets=results.dets[first],
            det_embs=results.det_embs[first],
        )
        galleries = resolve_galleries(results)
        hits = evaluate_search(results, galleries).hits[:, 0]
        for query, hit in enumerate(hits):
            found = best_matches(results, galleries, query)
            assert hit == (bool(found) and found[0].correct)
            n_correct += hit
    assert n_correct > 10
