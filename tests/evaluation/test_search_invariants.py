"""Properties of the search metrics, and equality with an evaluator written as plain loops."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_scenes import SHARED, Frame, G, W, random_results, scene

from person_search.data.readers.cuhk_sysu_mat import read_test
from person_search.evaluation import (
    Conventions,
    SearchResults,
    evaluate_search,
    metrics,
    protocol_arrays,
    resolve_galleries,
)
from person_search.evaluation.report import describe
from person_search.evaluation.segments import count_at_or_above
from person_search.protocols import GalleryRule, SearchProtocol

SEEDS = st.integers(0, 10**9)
RULES = [GalleryRule.OTHER_FRAMES, GalleryRule.OTHER_CAMERAS, GalleryRule.ALL_FRAMES]


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(0, width) * max(0, height)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def listed_targets(results, q, conventions):
    """{frame: target box or None} in list order, and the number of targets."""
    targets, n_targets = {}, 0
    lists = results.gallery
    for k in range(lists.offsets[q], lists.offsets[q + 1]):
        frame, has_box = lists.frames[k], lists.has_target[k]
        box = tuple(lists.boxes[k]) if has_box else None
        if conventions is Conventions.REFERENCE:
            n_targets += has_box
            targets.setdefault(frame, box)
        elif frame != results.query_frame_index[q]:
            targets[frame] = targets.get(frame) or box
    if conventions is Conventions.CORRECTED:
        n_targets = sum(box is not None for box in targets.values())
    return targets, n_targets


def ruled_targets(results, q, rule):
    targets = {}
    for frame in range(len(results.frame_names)):
        own = frame == results.query_frame_index[q]
        same_camera = results.frame_cam[frame] == results.query_cam[q]
        if own and rule is not GalleryRule.ALL_FRAMES:
            continue
        if same_camera and rule is GalleryRule.OTHER_CAMERAS:
            continue
        rows = range(results.gt_offsets[frame], results.gt_offsets[frame + 1])
        boxes = [results.gt_boxes[i] for i in rows if results.gt_ids[i] == results.query_ids[q]]
        targets[frame] = tuple(boxes[0]) if boxes else None
    return targets, sum(box is not None for box in targets.values())


def slow_search(results, targets_of, det_thresh=0.5):
    """AP and hits of every query, one detection at a time."""
    aps, hits = [], []
    for q, query in enumerate(results.query_embs):
        targets, n_targets = targets_of(results, q)
        ranking = []  # (similarity, is true positive) in gallery order
        for frame, box in targets.items():
            rows = range(results.det_offsets[frame], results.det_offsets[frame + 1])
            rows = [i for i in rows if results.dets[i, 4] >= det_thresh]
            similarity = {i: float(results.det_embs[i] @ query) for i in rows}
            positive = None
            if box is not None:
                width, height = box[2] - box[0], box[3] - box[1]
                needed = min(0.5, width * height / ((width + 10) * (height + 10)))
                for i in sorted(rows, key=lambda i: -similarity[i]):
                    if iou(box, results.dets[i]) >= needed:
                        positive = i
                        break
            ranking += [(similarity[i], i == positive) for i in rows]
        ap = 0.0
        for value, is_positive in ranking:
            if is_positive:
                step = [label for other, label in ranking if other >= value]
                ap += sum(step) / len(step) / n_targets
        aps.append(ap if n_targets else np.nan)
        ordered = [label for _, label in sorted(ranking, key=lambda pair: -pair[0])]
        hits.append([any(ordered[:k]) for k in (1, 5, 10)])
    return np.array(aps), np.array(hits)


def assert_equal(results, galleries, targets_of):
    ours = evaluate_search(results, galleries)
    ap, hits = slow_search(results, targets_of)
    np.testing.assert_allclose(ours.ap, ap, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(ours.hits, hits)
    assert (ours.hits_lo <= ours.hits).all() and (ours.hits <= ours.hits_hi).all()
    defined = ours.ap[ours.defined]
    assert (defined >= 0).all() and (defined <= 1).all()


@settings(deadline=None, max_examples=150)
@given(SEEDS, st.sampled_from(RULES))
def test_rules_equal_plain_loops(seed, rule):
    results = random_results(np.random.default_rng(seed), lists=False)
    galleries = resolve_galleries(results, rule)
    assert_equal(results, galleries, lambda r, q: ruled_targets(r, q, rule))


@settings(deadline=None, max_examples=150)
@given(SEEDS, st.sampled_from(Conventions), st.booleans())
def test_lists_equal_plain_loops(seed, conventions, sparse):
    results = random_results(np.random.default_rng(seed), lists=True)
    galleries = resolve_galleries(results, conventions=conventions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "SPARSE_GALLERY", 2.0 if sparse else -1.0)
        patch.setattr(metrics, "QUERY_BLOCK", 2)
        assert_equal(results, galleries, lambda r, q: listed_targets(r, q, conventions))


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_order_of_frames_and_detections_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    results = random_results(rng, lists=False)
    frames = rng.permutation(len(results.frame_names))
    place = np.append(np.argsort(frames), -1)  # the last for queries outside of the test set

    def shuffled(offsets, within):
        rows = [within(np.arange(offsets[f], offsets[f + 1])) for f in frames]
        return np.cumsum([0, *map(len, rows)]), np.concatenate(rows)

    gt_offsets, gt = shuffled(
        results.gt_offsets, lambda rows: rows
    )  # the first box of an id counts
    det_offsets, det = shuffled(results.det_offsets, rng.permutation)
    other = replace(
        results,
        frame_names=results.frame_names[frames],
        frame_cam=results.frame_cam[frames],
        gt_offsets=gt_offsets,
        gt_boxes=results.gt_boxes[gt],
        gt_ids=results.gt_ids[gt],
        gt_embs=results.gt_embs[gt],
        det_offsets=det_offsets,
        dets=results.dets[det],
        det_embs=results.det_embs[det],
        query_frame_index=place[results.query_frame_index],
    )
    one, two = evaluate_search(results), evaluate_search(other)
    np.testing.assert_allclose(one.ap, two.ap, atol=1e-12)
    np.testing.assert_array_equal(one.hits_lo, two.hits_lo)
    np.testing.assert_array_equal(one.hits_hi, two.hits_hi)


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.floats(-3, 0))
def test_a_distractor_behind_all_hits_changes_nothing(seed, similarity):
    rng = np.random.default_rng(seed)
    frames = [
        Frame(f"f{i}", [(G, 7)], [(G, s), (W, t)])
        for i, (s, t) in enumerate(rng.integers(1, 5, (4, 2)) / 4)
    ]
    before = evaluate_search(scene(frames)).ap[0]
    frames[rng.integers(4)].dets.append((W, similarity))
    after = evaluate_search(scene(frames)).ap[0]
    assert after == pytest.approx(before)  # it is behind every true positive


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.floats(-1, 2))
def test_one_more_distractor_never_helps(seed, similarity):
    results = random_results(np.random.default_rng(seed), lists=False)
    far = np.array([[9000, 9000, 9050, 9100, 1.0]])
    more = replace(
        results,
        det_offsets=np.append(results.det_offsets[:-1], results.det_offsets[-1] + 1),
        dets=np.concatenate([results.dets, far]),
        det_embs=np.concatenate([results.det_embs, [[similarity, similarity]]]),
    )
    before, after = evaluate_search(results), evaluate_search(more)
    worse = after.ap[after.defined] <= before.ap[before.defined] + 1e-12
    assert worse.all() and (after.hits <= before.hits).all()


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.integers(-20, 20))
def test_length_of_embeddings_does_not_matter(seed, exponent):
    results = random_results(np.random.default_rng(seed), lists=False)
    scaled = replace(results, det_embs=results.det_embs * 2.0**exponent)
    np.testing.assert_array_equal(evaluate_search(results).ap, evaluate_search(scaled).ap)


def test_perfect_ranking():
    frames = [Frame(f"f{i}", [(G, 7)], [(W, 0.1 * i), (G, 2.0 + i)]) for i in range(6)]
    found = evaluate_search(scene(frames))
    assert found.ap[0] == pytest.approx(1.0) and found.hits.all()


def test_score_weighting_scales_the_gallery_only():
    frames = [Frame("A", [(G, 7)], [(G, 0.8, 0.9)]), Frame("B", [], [(W, 0.9, 0.6)])]
    assert evaluate_search(scene(frames)).ap[0] == pytest.approx(0.5)
    weighted = evaluate_search(scene(frames), score_weighting=True)
    assert weighted.ap[0] == pytest.approx(1.0) and weighted.protocol["score_weighting"]


def test_queries_without_targets_are_left_out_and_counted():
    results = scene([Frame("A", [(G, 8)], [(G, 0.8)])])
    found = evaluate_search(results)
    assert np.isnan(found.ap[0]) and found.protocol["n_undefined"] == 1
    assert all(np.isnan(value) for value in found.summary().values())


def test_a_query_whose_person_was_not_found_has_ap_0_and_is_counted():
    """Its row of zeros is as like the one detection as anything, which is no hit."""
    results = scene([Frame("A", [(G, 7)], [(G, 0.8)])])
    results = replace(results, query_embs=np.zeros_like(results.query_embs))
    found = evaluate_search(results)
    assert found.ap[0] == 0 and not found.hits_hi.any()
    assert found.protocol["n_unembedded"] == 1 and found.protocol["n_undefined"] == 0
    assert "1 queries whose person was not found, with AP 0" in describe(found.protocol)


@pytest.mark.parametrize("kind", ["rule", "lists"])
def test_no_queries(kind):
    one = scene([Frame("A", [(G, 7)], [(G, 0.8)])], None if kind == "rule" else [])
    names = [name for name in vars(one) if name.startswith("query_")]
    empty = {name: getattr(one, name)[:0] for name in names}
    if kind == "lists":
        empty["gallery"] = replace(one.gallery, offsets=np.array([0]))
    found = evaluate_search(replace(one, **empty))
    assert found.ap.shape == (0,) and found.hits.shape == (0, 3)
    assert np.isnan(found.summary()["mAP"])


def test_protocol_says_what_was_run():
    protocol = evaluate_search(scene([Frame("A"), Frame("Q"), Frame("B")]), det_thresh=0.3).protocol
    assert protocol["gallery"] == GalleryRule.OTHER_FRAMES.value
    assert protocol["gallery_size"] == {"min": 2, "median": 2.0, "max": 2}
    assert protocol["det_thresh"] == 0.3 and protocol["boxes"] == "detections"
    assert protocol["n_queries"] == 1 and protocol["cbgm"] is None


@pytest.mark.parametrize("spread", [1.0, 1e-3, 0.0])
def test_counting_equals_sorting(spread):
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(20_000) * spread).astype(np.float32)
    values[::7] = values[0]
    values[5] = -np.inf
    levels = rng.choice(values[6:], 60)
    expected = [np.count_nonzero(values >= level) for level in levels]
    np.testing.assert_array_equal(count_at_or_above(values, levels), expected)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the research data beside the repository")
def test_perfect_embeddings_on_the_real_cuhk_sysu_protocol():
    """Six queries of TestG100 list a frame twice or their own; four cost the reference AP."""
    path = SHARED / "annotations" / "AlignPS" / "TestG100.mat"
    frame_index = {f"s{i}.jpg": i for i in range(18_205)}
    test = read_test(path, "TestG100", frame_index)
    lists, rng = test.gallery, np.random.default_rng(0)
    rows = np.flatnonzero(lists.has_target)
    person = np.searchsorted(lists.offsets, rows, "right") - 1
    # The detector finds every person once in a frame, where the lists put the person first.
    frames = np.concatenate([lists.frames[rows], test.query_frames])
    boxes = np.concatenate([lists.boxes[rows], test.query_boxes])
    ids = np.concatenate([person, np.arange(len(test.names))])
    order = np.unique(np.stack([frames, ids]), axis=1, return_index=True)[1]
    offsets = np.searchsorted(frames[order], np.arange(len(frame_index) + 1))
    embeddings = rng.choice([-1, 1], (len(test.names), 64)).astype(np.float32)
    protocol = SearchProtocol(
        "G100", test.query_frames, test.query_boxes, np.arange(len(test.names)), lists
    )
    results = SearchResults(
        **protocol_arrays(protocol, np.array(list(frame_index)), np.full(len(frame_index), -1)),
        gt_offsets=offsets,
        gt_boxes=boxes[order],
        gt_ids=ids[order],
        det_offsets=offsets,
        dets=np.c_[boxes[order], np.ones(len(order))],
        det_embs=embeddings[ids[order]],
        query_embs=embeddings,
    )
    reference = resolve_galleries(results, conventions=Conventions.REFERENCE)
    corrected = resolve_galleries(results)
    assert reference.n_targets.sum() == 5447
    odd = [493, 1250, 1633, 1997, 2132, 2561]
    assert np.flatnonzero(reference.n_targets != corrected.n_targets).tolist() == odd
    assert (corrected.sizes == 100).sum() == 2894
    found = evaluate_search(results, reference)
    # Four queries cannot find the second row of a doubled frame; of 2, 3, 8 and 3 rows.
    lost = 1 / 2 + 1 / 3 + 1 / 8 + 1 / 3
    assert found.summary()["mAP"] == pytest.approx(1 - lost / 2900)
    assert evaluate_search(results, corrected).summary()["mAP"] == pytest.approx(1.0)
