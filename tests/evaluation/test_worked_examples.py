"""Sixteen small cases, each computed by hand; where published evaluators differ, both readings."""

import numpy as np
import pytest
from search_scenes import QUERY_ID, Frame, G, W, scene

from person_search.evaluation import (
    Conventions,
    Sweep,
    evaluate_detection,
    evaluate_reid,
    evaluate_search,
    resolve_galleries,
    zheng_curves,
)
from person_search.evaluation.zheng import trapezoid_ap
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule

ME, OTHER = QUERY_ID, 8


def search(results, rule=None, conventions=Conventions.CORRECTED, **options):
    metrics = evaluate_search(results, resolve_galleries(results, rule, conventions), **options)
    return metrics.ap[0], metrics.hits[0].tolist()


def test_01_basic():
    frames = [
        Frame("A", [(G, ME)], [(G, 0.9), (W, 0.8)]),
        Frame("B", [(G, ME)], [(G, 0.7)]),
        Frame("C", [(W, OTHER)], [(W, 0.85)]),
    ]
    ap, hits = search(scene(frames))
    assert ap == pytest.approx(0.75) and hits == [True, True, True]


@pytest.mark.parametrize("in_b", [[(W, 0.6)], [(G, 0.7, 0.49)]], ids=["missed", "below threshold"])
def test_02_missed(in_b):
    frames = [
        Frame("A", [(G, ME)], [(G, 0.9), (W, 0.8)]),
        Frame("B", [(G, ME)], in_b),
        Frame("C", [(W, OTHER)], [(W, 0.85)]),
    ]
    ap, hits = search(scene(frames))
    assert ap == pytest.approx(0.5) and hits[0]


def test_03_missed_and_false_positive_first():
    frames = [
        Frame("A", [(G, ME)], [(G, 0.9)]),
        Frame("B", [(G, ME)]),
        Frame("C", [], [(W, 0.95)]),
    ]
    ap, hits = search(scene(frames))
    assert ap == pytest.approx(0.25) and hits == [False, True, True]


@pytest.mark.parametrize("kind", ["order of frames", "order of list"])
@pytest.mark.parametrize("order", ["AC", "CA"])
def test_04_tie_across_frames(order, kind):
    frames = {
        "A": Frame("A", [(G, ME)], [(G, 0.8)]),
        "C": Frame("C", [(W, OTHER)], [(W, 0.8)]),
    }
    if kind == "order of frames":
        results = scene([frames[name] for name in order])
    else:
        results = scene([*frames.values()], [(name, {"A": G, "C": None}[name]) for name in order])
    metrics = evaluate_search(results)
    assert metrics.ap[0] == pytest.approx(0.5)
    assert metrics.hits[0, 0] == (order == "AC")
    assert not metrics.hits_lo[0, 0] and metrics.hits_hi[0, 0]


@pytest.mark.parametrize(
    ("dets", "expected"),
    [
        ([(G, 0.9), ((102, 102, 150, 200), 0.8)], 1.0),
        ([(G, 0.9), ((102, 102, 150, 200), 0.9)], 0.5),
        ([(G, 0.8), ((100, 100, 150, 155), 0.9)], 1.0),
    ],
    ids=["second behind", "equal", "worse box first"],
)
def test_05_two_boxes_on_the_person(dets, expected):
    assert search(scene([Frame("A", [(G, ME)], dets)]))[0] == pytest.approx(expected)


def test_06_no_detection_at_all():
    results = scene([Frame("A", [(G, ME)]), Frame("B", [(G, ME)])])
    ap, hits = search(results)
    assert ap == 0 and hits == [False, False, False]
    assert evaluate_search(results).summary()["mAP"] == 0


def test_07_own_frame():
    frames = [
        Frame("Q", [(G, ME)], [(G, 1.0)], cam=1),
        Frame("A", [(G, ME)], [(G, 0.6)]),
        Frame("C", [(W, OTHER)], [(W, 0.7)]),
    ]
    ap, hits = search(scene(frames))
    assert ap == pytest.approx(0.5) and not hits[0]
    ap, hits = search(scene(frames), GalleryRule.ALL_FRAMES)
    assert ap == pytest.approx((1 + 2 / 3) / 2) and hits[0]

    listed = scene(frames, [("Q", G), ("A", G), ("C", None)])
    ap, hits = search(listed, conventions=Conventions.REFERENCE)
    assert ap == pytest.approx((1 + 2 / 3) / 2) and hits[0]
    ap, hits = search(listed)
    assert ap == pytest.approx(0.5) and not hits[0]


def test_08_camera():
    frames = [
        Frame("A", [(G, ME)], [(G, 0.9)], cam=1),
        Frame("C", [(W, OTHER)], [(W, 0.8)], cam=2),
        Frame("B", [(G, ME)], [(G, 0.7)], cam=3),
    ]
    ap, hits = search(scene(frames))
    assert ap == pytest.approx((1 + 2 / 3) / 2) and hits[0]
    ap, hits = search(scene(frames), GalleryRule.OTHER_CAMERAS)
    assert ap == pytest.approx(0.5) and not hits[0]


@pytest.mark.parametrize(
    ("person", "found", "expected"),
    [
        ((100, 100, 110, 140), (100, 100, 110, 118), 1.0),
        ((100, 100, 110, 140), (100, 100, 110, 115), 0.0),
        ((100, 100, 200, 300), (100, 100, 200, 200), 1.0),
        ((100, 100, 200, 300), (100, 100, 200, 199), 0.0),
    ],
    ids=["small 0.45", "small 0.375", "large 0.5", "large 0.495"],
)
def test_09_iou_threshold(person, found, expected):
    results = scene([Frame("A", [(person, ME)], [(found, 0.9)])])
    ap, hits = search(results)
    assert ap == expected and hits[0] == bool(expected)


def test_10_same_id_twice_in_a_frame():
    ap, _ = search(scene([Frame("A", [(G, ME), (W, ME)], [(W, 0.9), (G, 0.5)])]))
    assert ap == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rows", "reference"),
    [
        ([("a", G), ("a", G)], 0.5),
        ([("a", G), ("a", W)], 0.5),
        ([("a", None), ("a", G)], 0.0),
    ],
    ids=["same box", "two boxes", "first without box"],
)
def test_11_frame_listed_twice(rows, reference):
    results = scene([Frame("a", [(G, ME), (W, ME)], [(G, 0.9), (W, 0.8)])], rows)
    assert search(results, conventions=Conventions.REFERENCE)[0] == pytest.approx(reference)
    assert search(results)[0] == pytest.approx(1.0)


def test_12_detection():
    far = (700, 100, 750, 200)
    frames = [
        Frame("1", [(G, 1), (W, UNLABELED)], [(G, 0, 0.9), (far, 0, 0.8)]),
        Frame("2", [(G, 1)], [(G, 0, 0.7)]),
    ]
    metrics = evaluate_detection(scene(frames))
    assert metrics.recall == pytest.approx(2 / 3)
    assert metrics.plain_ap == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.ap == pytest.approx((1 + 2 / 3) / 2 * 2 / 3)
    metrics = evaluate_detection(scene(frames), labeled_only=True)
    assert metrics.recall == 1.0 and metrics.ap == pytest.approx((1 + 2 / 3) / 2)
    tie = scene([Frame("1", [(G, 1)], [(G, 0, 0.9), (far, 0, 0.9)])])
    assert evaluate_detection(tie).recall == 1.0
    assert evaluate_detection(tie).ap == pytest.approx(0.5)


def test_13_mutual_best_against_greedy():
    persons = [((0, 0, 100, 100), 1), ((0, 0, 100, 90), 2)]
    dets = [((0, 0, 100, 95), 0, 0.9), ((0, 0, 100, 60), 0, 0.8)]
    metrics = evaluate_detection(scene([Frame("1", persons, dets)]))
    assert metrics.recall == 0.5 and metrics.ap == pytest.approx(0.5)
    assert metrics.coco_ap == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ranks", "n_good", "expected"),
    [
        ([1, 3], 2, 0.5 * (1 + 1) / 2 + 0.5 * (1 / 2 + 2 / 3) / 2),
        ([2], 1, 0.25),
        ([1], 2, 0.5),
        ([1, 1001], 2, 0.5),
    ],
)
def test_14_trapezoid(ranks, n_good, expected):
    assert trapezoid_ap(np.array(ranks), n_good) == pytest.approx(expected)


def test_15_zheng_with_a_swept_detector():
    person = ((0, 0, 99, 99), 500)  # 100 x 100 pixels, counted inclusively
    frames = [
        Frame("c2", [person], [((0, 0, 99, 79), 0.5), ((0, 0, 99, 59), 0.8)], cam=2),
        Frame("c1", [person], [((0, 0, 99, 69), 0.9)], cam=1),
        Frame("c3", [person], [((0, 0, 99, 39), 0.6), ((300, 0, 399, 99), 0.7, 0.5)], cam=3),
    ]
    results = scene(frames, query_frame="c1", query_id=500)
    sweep = Sweep.over_thresholds(results, np.array([0.5, 0.6, 0.95]))
    curves = zheng_curves(results, sweep)
    np.testing.assert_allclose(curves.metrics["mAP"], [0.125, 0.5, 0])
    np.testing.assert_allclose(curves.metrics["rank-1"], [0, 1, 0])
    np.testing.assert_allclose(curves.metrics["rank-20"], [1, 1, 0])
    np.testing.assert_allclose(curves.boxes_per_image, [5 / 3, 4 / 3, 0])
    assert curves.best()["mAP"] == (0.5, pytest.approx(4 / 3))


def test_15_frames_without_detections_as_in_the_authors_script():
    person = ((0, 0, 99, 99), 500)
    frames = [
        Frame("c2", [person], [((0, 0, 99, 99), 0.5)], cam=2),
        Frame("c3", [person], [], cam=3),
    ]
    results = scene(frames, query_id=500)
    every = Sweep.over_thresholds(results, np.array([0]))
    assert zheng_curves(results, every).metrics["mAP"] == pytest.approx([0.5])
    found = zheng_curves(results, every, skip_empty_frames=True)
    assert found.metrics["mAP"] == pytest.approx([1.0])


def test_16_market():
    gallery = {
        "query_embs": np.array([[1.0]]),
        "query_ids": [1],
        "gallery_embs": np.array([[0.9], [0.95], [0.8], [0.7]]),
        "gallery_ids": [1, -1, 2, 1],  # the second is junk: never ranked
    }
    metrics = evaluate_reid(**gallery, query_cams=[0], gallery_cams=[0, 0, 0, 1])
    assert metrics.mAP == pytest.approx(0.5)
    np.testing.assert_array_equal(metrics.cmc[:3], [0, 1, 1])
    metrics = evaluate_reid(**gallery)
    assert metrics.mAP == pytest.approx((1 + 2 / 3) / 2) and metrics.cmc[0] == 1


def test_16_a_query_without_a_match_does_not_count():
    metrics = evaluate_reid(
        np.ones((2, 1)), [1, 3], np.array([[0.5], [0.9]]), [1, 2], [0, 0], [1, 1], max_rank=2
    )
    assert metrics.mAP == pytest.approx(0.5) and np.isnan(metrics.ap[1])
    np.testing.assert_array_equal(metrics.cmc, [0, 1])
    assert metrics.protocol["n_undefined"] == 1
