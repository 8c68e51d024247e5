"""The saved-results file: what is written is read, and what is wrong is named."""

from dataclasses import replace

import numpy as np
import pytest
from search_scenes import SHARED, Frame, G, W, random_results, scene

from person_search.errors import ResultsError
from person_search.evaluation import SearchResults, evaluate_search, protocol_arrays
from person_search.evaluation.results import FOREIGN_UNLABELED
from person_search.labels import UNLABELED
from person_search.protocols import GalleryLists, GalleryRule, SearchProtocol


@pytest.fixture
def results():
    return random_results(np.random.default_rng(4), lists=True)


@pytest.fixture
def arrays(results):
    return results.arrays()


def test_round_trip(results, tmp_path):
    path = tmp_path / "results.npz"
    path.write_bytes(b"an older file")
    results = replace(results, protocol="mine")
    results.save(path)
    loaded = SearchResults.load(path)
    assert loaded.arrays().keys() == results.arrays().keys()
    for name, array in loaded.arrays().items():
        np.testing.assert_array_equal(array, results.arrays()[name])
    assert loaded.unlabeled_id == UNLABELED and loaded.protocol == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["results.npz"]


def test_a_failed_write_leaves_the_old_file(results, tmp_path, monkeypatch):
    path = tmp_path / "results.npz"
    path.write_bytes(b"an older file")

    def half_written(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", half_written)
    with pytest.raises(OSError, match="disk full"):
        results.save(path)
    assert path.read_bytes() == b"an older file" and len(list(tmp_path.iterdir())) == 1


def test_files_of_others_mark_unlabeled_persons_with_5555(arrays, tmp_path):
    del arrays["unlabeled_id"]
    np.savez(tmp_path / "theirs.npz", **arrays, out_of_their_own=1)
    assert SearchResults.load(tmp_path / "theirs.npz").unlabeled_id == FOREIGN_UNLABELED == 5555


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gt_offsets", lambda a: a[::-1], "gt_offsets must never fall"),
        ("det_offsets", lambda a: a[:-1], r"det_offsets has shape .*, must be"),
        ("det_offsets", lambda a: np.r_[a[:-1], a[-1] + 1], "det_offsets .* end at"),
        ("det_embs", lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1, np.nan, a), "NaN"),
        ("det_embs", lambda a: a[:, :1], "det_embs has shape"),
        ("query_embs", lambda a: a[0], "query_embs has shape"),
        ("gt_boxes", lambda a: a[:, :3], "gt_boxes has shape"),
        ("gt_boxes", lambda a: a.astype(str), "gt_boxes is <U"),
        ("frame_cam", lambda a: a[0], "frame_cam is a single value"),
        ("query_frame_index", lambda a: a + 99, "query_frame_index holds"),
        ("gal_frames", lambda a: a - 1, "gal_frames holds -1"),
        ("gal_has_gt", lambda a: a[1:], "gal_has_gt has shape"),
        ("frame_names", lambda a: np.repeat(a[:1], len(a)), "frame_names holds .* twice"),
        ("query_frames", lambda a: np.repeat("x", len(a)), "query_frame_index.0. does not point"),
        ("unlabeled_id", lambda a: np.array([1, 2]), "unlabeled_id must be one int"),
    ],
)
def test_inconsistent_arrays_are_named(arrays, tmp_path, name, value, message):
    arrays["query_frame_index"] = np.zeros_like(arrays["query_frame_index"])
    arrays["query_frames"] = arrays["frame_names"][arrays["query_frame_index"]]
    arrays[name] = value(arrays[name])
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    with pytest.raises(ResultsError, match=message) as error:
        SearchResults.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["det_embs", "query_ids", "qctx_dets", "gal_has_gt"])
def test_missing_arrays_are_named(arrays, tmp_path, name):
    del arrays[name]
    np.savez(tmp_path / "short.npz", **arrays)
    with pytest.raises(ResultsError, match=f"{name} is missing"):
        SearchResults.load(tmp_path / "short.npz")


def test_a_gallery_is_needed(arrays, tmp_path):
    arrays = {name: value for name, value in arrays.items() if not name.startswith("gal_")}
    np.savez(tmp_path / "short.npz", **arrays)
    with pytest.raises(ResultsError, match="gal_offsets is missing: without gallery_rule"):
        SearchResults.load(tmp_path / "short.npz")
    np.savez(tmp_path / "wrong.npz", **arrays, gallery_rule="OWN_FRAME")
    with pytest.raises(ResultsError, match="'OWN_FRAME', must be one of OTHER_FRAMES, OTHER_CAM"):
        SearchResults.load(tmp_path / "wrong.npz")


@pytest.mark.parametrize("rule", GalleryRule)
def test_a_file_remembers_its_gallery_rule(tmp_path, rule):
    results = replace(random_results(np.random.default_rng(4), lists=False), gallery=rule)
    results.save(tmp_path / "results.npz")
    loaded = SearchResults.load(tmp_path / "results.npz")
    assert loaded.gallery is rule
    np.testing.assert_array_equal(evaluate_search(loaded).ap, evaluate_search(results).ap)


def test_older_files_hold_lists_with_boxes_in_xywh(results, arrays, tmp_path):
    xyxy = arrays.pop("gal_boxes")
    arrays["gal_gt_xywh"] = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    np.savez(tmp_path / "old.npz", **arrays, kind="cuhk")
    loaded = SearchResults.load(tmp_path / "old.npz")
    np.testing.assert_array_equal(loaded.gallery.boxes, results.gallery.boxes)
    np.testing.assert_array_equal(evaluate_search(loaded).ap, evaluate_search(results).ap)


def test_older_files_do_not_say_which_rule_they_were_saved_under(tmp_path):
    results = replace(random_results(np.random.default_rng(4), lists=False), protocol="mine")
    arrays = results.arrays()
    del arrays["gallery_rule"]
    np.savez(tmp_path / "old.npz", **arrays, kind="prw")
    loaded = SearchResults.load(tmp_path / "old.npz")
    assert loaded.gallery is GalleryRule.OTHER_FRAMES
    assert loaded.protocol == "mine (saved without its gallery rule)"


def test_damaged_files(results, tmp_path):
    path = tmp_path / "results.npz"
    with pytest.raises(ResultsError, match="no such file"):
        SearchResults.load(path)
    results.save(path)
    good, rng = path.read_bytes(), np.random.default_rng(0)
    for size in rng.integers(0, len(good), 20):
        path.write_bytes(good[:size])
        with pytest.raises(ResultsError, match="results.npz"):
            SearchResults.load(path)
    for place in rng.integers(0, len(good), 200):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            SearchResults.load(path)  # a byte may not matter, or may be caught; nothing else
        except ResultsError:
            pass
    np.savez(path, kind=np.array([{"a": 1}]))
    with pytest.raises(ResultsError, match="pickle"):
        SearchResults.load(path)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the research data beside the repository")
def test_boxes_may_be_of_any_numeric_type():
    path = SHARED / "golden" / "prw_small_s0.npz"
    whole = SearchResults.load(path)
    floats = replace(whole, gt_boxes=whole.gt_boxes.astype(float), dets=whole.dets.astype(float))
    np.testing.assert_array_equal(evaluate_search(whole).ap, evaluate_search(floats).ap)


@pytest.mark.parametrize("kind", ["rule", "lists"])
def test_protocol_arrays_say_what_the_protocol_says(kind):
    frames = [
        Frame("Q", [(G, 7)], [(G, 1.0)], cam=1),
        Frame("A", [(G, 7), (W, 8)], [(G, 0.6), (W, 0.7)], cam=2),
    ]
    expected = scene(frames, None if kind == "rule" else [("A", G), ("Q", None)])
    lists = GalleryLists(
        offsets=np.array([0, 2]),
        frames=np.array([1, 0]),
        has_target=np.array([True, False]),
        boxes=np.array([G, (0, 0, 0, 0)], float),
    )
    protocol = SearchProtocol(
        name="mine",
        query_frames=np.array([0]),
        query_boxes=np.array([G], float),
        query_ids=np.array([7]),
        gallery=GalleryRule.OTHER_FRAMES if kind == "rule" else lists,
    )
    arrays = protocol_arrays(protocol, expected.frame_names, expected.frame_cam)
    assert arrays.pop("protocol") == "mine"
    gallery = arrays.pop("gallery")
    if kind == "rule":
        assert gallery is expected.gallery is GalleryRule.OTHER_FRAMES
    else:
        for name in ("offsets", "frames", "has_target", "boxes"):
            np.testing.assert_array_equal(getattr(gallery, name), getattr(expected.gallery, name))
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, getattr(expected, name))
