"""Decoders of detectors, against rows worked out by hand."""

import numpy as np
import pytest

from person_search.packs.decode import (
    decode_boxes_scores,
    decode_ssd,
    decode_yolox,
    keep_best,
    yolox_places,
)


def test_yolox_counts_its_grid_cells():
    assert yolox_places((416, 416)) == 52 * 52 + 26 * 26 + 13 * 13 == 3549
    assert yolox_places((32, 64)) == 4 * 8 + 2 * 4 + 1 * 2


def test_yolox_decodes_offsets_from_cells_and_logarithms_of_sizes():
    # 32x64: the 8x4 cells of stride 8 come first, then 4x2 of stride 16, then 2x1 of stride 32.
    rows = np.zeros((1, 42, 5 + 3), np.float32)
    rows[0, 9] = [0.5, 0.5, np.log(2), np.log(4), 0.9, 0.1, 0.8, 0.2]  # stride 8, cell (1, 1)
    rows[0, 32 + 5] = [0.25, 0, 0, 0, 1, 0, 0.5, 0]  # stride 16, cell (1, 1)
    rows[0, 40 + 1] = [0, 1, 0, np.log(0.5), 0.5, 0, 0.5, 0]  # stride 32, cell (1, 0)
    boxes, scores = decode_yolox([rows], (32, 64), person_class=1)
    np.testing.assert_allclose(boxes[9], [12 - 8, 12 - 16, 12 + 8, 12 + 16], rtol=1e-6)
    np.testing.assert_allclose(boxes[37], [20 - 8, 16 - 8, 20 + 8, 16 + 8], rtol=1e-6)
    np.testing.assert_allclose(boxes[41], [32 - 16, 32 - 8, 32 + 16, 32 + 8], rtol=1e-6)
    np.testing.assert_allclose(scores[[9, 37, 41]], [0.72, 0.5, 0.25], rtol=1e-6)
    assert np.count_nonzero(scores) == 3


@pytest.mark.parametrize(
    "shape, person_class, said",
    [
        ((1, 41, 8), 0, "gives 41 places, but (32, 64) has 42"),
        ((1, 42, 8), 3, "has 3 classes, so none of index 3"),
    ],
)
def test_yolox_says_what_does_not_fit(shape, person_class, said):
    with pytest.raises(ValueError) as error:
        decode_yolox([np.zeros(shape, np.float32)], (32, 64), person_class)
    assert said in str(error.value)


def test_ssd_rows_are_shares_of_the_input_and_end_at_minus_one():
    rows = np.array(
        [
            [0, 1, 0.9, 0.25, 0.5, 0.75, 1.0],
            [0, 2, 0.8, 0, 0, 1, 1],  # another class
            [0, 1, 0.3, 0, 0, 0.5, 0.5],
            [-1, 0, 0, 0, 0, 0, 0],
            [0, 1, 0.99, 0, 0, 1, 1],  # left over from an earlier picture
        ],
        np.float32,
    )
    boxes, scores = decode_ssd([rows[None, None]], (100, 200), person_class=1)
    np.testing.assert_allclose(boxes, [[50, 50, 150, 100], [0, 0, 100, 50]])
    np.testing.assert_allclose(scores, [0.9, 0.3])


def test_boxes_and_scores_as_they_are():
    boxes = np.array([[[0, 0, 10, 20], [5, 5, 6, 6]]], np.float32)
    found, scores = decode_boxes_scores([boxes, np.array([[[0.1, 0.9], [0.7, 0.3]]])], (64, 64), 1)
    np.testing.assert_array_equal(found, boxes[0])
    np.testing.assert_allclose(scores, [0.9, 0.3])
    _, scores = decode_boxes_scores([boxes, np.array([0.4, 0.6])], (64, 64), 0)
    np.testing.assert_allclose(scores, [0.4, 0.6])
    five = np.array([[0, 0, 10, 20, 0.5]], np.float32)
    found, scores = decode_boxes_scores([five, np.array([1])], (64, 64), 0)
    np.testing.assert_allclose(found, five[:, :4])
    np.testing.assert_allclose(scores, [0.5])


@pytest.mark.parametrize("number", [0, 3])
def test_boxes_and_scores_of_nobody_are_empty(number):
    outputs = [np.zeros((number, 4), np.float32), np.zeros(number, np.float32)]
    boxes, scores = decode_boxes_scores(outputs, (64, 64), 0)
    assert boxes.shape == (number, 4) and scores.shape == (number,)


def test_boxes_and_scores_say_what_does_not_fit():
    with pytest.raises(ValueError, match="no boxes"):
        decode_boxes_scores([np.zeros((3, 6))], (64, 64), 0)
    with pytest.raises(ValueError, match="none of index 2"):
        decode_boxes_scores([np.zeros((3, 4)), np.zeros((3, 2))], (64, 64), 2)


def test_of_boxes_that_overlap_the_best_stays():
    boxes = np.array([[1, 0, 11, 10], [0, 0, 10, 10], [20, 0, 30, 10], [50, 0, 60, 10]])
    scores = np.array([0.8, 0.9, 0.7, 0.4])
    # The first two: 90 / 110 = 0.82.
    assert keep_best(boxes, scores, 0.5, 0.5).tolist() == [1, 2]
    assert keep_best(boxes, scores, 0.5, 0.85).tolist() == [1, 0, 2]
    assert keep_best(boxes, scores, 0.95, 0.5).tolist() == []
