"""Calibrations: kept beside the weights, refused for another model, honest about their reach."""

import json
from dataclasses import replace

import cv2
import gallery_rows
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from street_runs import registered

from person_search.data.catalog import protocols_of
from person_search.errors import CalibrationError, ConfigError
from person_search.evaluation import OpenSetScores, fit_open_set
from person_search.gallery.calibration import (
    Calibration,
    Threshold,
    calibration_path,
    fit_calibration,
    model_fields,
    search_data_set,
)


@pytest.fixture
def calibration() -> Calibration:
    """Of 100 queries with 50 strangers each, whose similarities are even in (0, .5)."""
    rng = np.random.default_rng(0)
    strangers = -np.sort(-rng.uniform(0, 0.5, (100, 50)))
    scores = OpenSetScores(strangers, np.full(100, 50), np.arange(100), rng.uniform(0, 1, 1000))
    return Calibration(
        model=model_fields(gallery_rows.model()),
        data="street",
        queries=100,
        persons=100,
        frames=7,
        false_alarm_rate=0.2,
        curve=fit_open_set(scores),
    )


def test_a_threshold_for_a_gallery(calibration):
    threshold = calibration.threshold(50)
    assert threshold.similarity == pytest.approx(0.5, abs=0.01)
    assert (threshold.false_alarm_rate, threshold.gallery) == (0.2, 50)
    assert threshold.detection_rate == pytest.approx(1 - threshold.similarity, abs=0.05)
    assert not threshold.extrapolated and "(extrapolated)" not in str(threshold)
    assert "set for a false alarm rate of 0.2 in a gallery of 50 persons;" in str(threshold)
    assert "(both by street)" in str(threshold)
    assert calibration.threshold(2, 0.5).similarity < threshold.similarity
    for gallery, rate in ((51, 0.2), (50, 0.01)):
        beyond = calibration.threshold(gallery, rate)
        assert beyond.extrapolated and "persons (extrapolated); it finds" in str(beyond)
    assert str(Threshold(0.625)) == "threshold 0.625, as given"


@pytest.mark.parametrize("rate", [0, -0.1, 0.6, 1, float("nan")])
def test_a_rate_that_is_none(calibration, rate):
    with pytest.raises(CalibrationError, match="give one above 0, up to 0.5"):
        calibration.threshold(50, rate)


def test_a_gallery_for_which_no_similarity_would_do(calibration):
    curve = calibration.curve
    curve.tails[:] = 0.1
    with pytest.raises(CalibrationError, match="100 queries of street cannot set a false alarm"):
        calibration.threshold(10**9, 0.001)


def test_it_is_kept_beside_the_weights(calibration, tmp_path):
    model = gallery_rows.model(weights=str(tmp_path / "model_final.pth"))
    path = calibration.save(model)
    assert path == tmp_path / "model_final.calibration.json" == calibration_path(model)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    again = Calibration.load(replace(model, config="B: 2"))
    assert again.threshold(70, 0.03) == calibration.threshold(70, 0.03)
    assert again.threshold(50) == calibration.threshold(50)
    with pytest.raises(CalibrationError, match="cannot write .*No such file"):
        calibration.save(replace(model, weights=str(tmp_path / "nowhere" / "model.pth")))


@pytest.mark.parametrize(
    "change", [{"weights_hash": "w1"}, {"config_hash": "c1"}, {"score_thresh": 0.1}, {"dim": 9}]
)
def test_one_of_another_model_is_refused(calibration, tmp_path, change):
    model = gallery_rows.model(weights=str(tmp_path / "a.pth"))
    calibration.save(model)
    ((name, value),) = change.items()
    with pytest.raises(CalibrationError, match=f"of another model .{name}: .*, yours: {value}.: m"):
        Calibration.load(replace(model, **change))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "null", "[" * 5000, '{"curve": 3}'])
def test_none_or_a_damaged_one(calibration, tmp_path, damage):
    model = gallery_rows.model(weights=str(tmp_path / "a.pth"))
    to_make = "make one with person-search calibrate --data DATASET"
    with pytest.raises(CalibrationError, match=f"a.pth has no calibration .*: {to_make}"):
        Calibration.load(model)
    calibration.save(model).write_text(damage)
    with pytest.raises(CalibrationError, match=f"is damaged .*: {to_make}"):
        Calibration.load(model)


@pytest.mark.parametrize(
    "name, value",
    [
        ("curve.thresholds", "many"), ("curve.thresholds", [float("nan")]),
        ("curve.thresholds", [[float("nan")]]), ("curve.tails", None), ("curve.tails", []),
        ("curve.sizes", [0]), ("curve.sizes", [float("inf")]), ("curve.sizes", []),
        ("curve.rates", [2.0]), ("curve.own", [0.0]), ("curve.own", 3),
        ("false_alarm_rate", float("nan")), ("false_alarm_rate", 0), ("false_alarm_rate", "no"),
        ("data", ["street"]), ("queries", "\x1b[2J"), ("queries", 1.5), ("model", None),
        ("model", {}), ("more", 1),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused(calibration, tmp_path, name, value):
    model = gallery_rows.model(weights=str(tmp_path / "a.pth"))
    path = calibration.save(model)
    content = json.loads(path.read_text())
    *part, key = name.split(".")
    (content[part[0]] if part else content)[key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match="is damaged"):
        Calibration.load(model)


def test_results_of_another_model(searcher, street_root):
    """Only the size of an embedding tells them apart."""
    with registered(street_root):
        results = search_data_set(searcher, "street_tiny_test")
    other = replace(searcher.model, dim=searcher.model.dim + 1)
    with pytest.raises(CalibrationError, match="give results of this model"):
        fit_calibration(results, other, "street_tiny_test", 0.1)


def test_what_is_searched_is_what_a_user_would_find(searcher, street_root):
    with registered(street_root):
        results = search_data_set(searcher, "street_tiny_test")
        frames = DatasetCatalog.get("street_tiny_test")
        protocol = next(iter(protocols_of("street_tiny_test").values()))()
        with pytest.raises(ConfigError, match="no data set is called nowhere; legal: .*street_t"):
            search_data_set(searcher, "nowhere")
        with pytest.raises(ConfigError, match="street_tiny_train has no queries"):
            search_data_set(searcher, "street_tiny_train")
    assert results.frame_names.tolist() == [str(f["image_id"]) for f in frames]
    last = results.det_offsets[-2]
    found = searcher.detect([cv2.imread(frames[-1]["file_name"])])[0]
    np.testing.assert_allclose(results.dets[last:, :4], found.boxes, atol=1e-3)
    np.testing.assert_allclose(results.det_embs[last:], found.embeds, atol=1e-5)
    frame = frames[protocol.query_frames[5]]["file_name"]
    embed = searcher.embed(cv2.imread(frame), protocol.query_boxes[5:6])
    np.testing.assert_allclose(results.query_embs[5], embed[0], atol=1e-5)
