"""Ignore regions: their pixels, and what training sees of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.data.regions import hide_regions, region_mask

SQUARE = [2, 1, 5, 1, 5, 4, 2, 4]


def test_a_mask_has_the_pixels_of_the_polygons():
    mask = region_mask([SQUARE, [0, 0, 3, 3]], (6, 8))  # two points are no region
    expected = np.zeros((6, 8), np.uint8)
    expected[1:5, 2:6] = 1  # OpenCV counts the border
    assert mask.tolist() == expected.tolist()
    assert not region_mask([], (6, 8)).any()


def test_regions_are_filled_but_for_the_persons():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    before = image.copy()
    hidden = hide_regions(image, [SQUARE], np.array([[3.0, 2.0, 4.0, 9.0]]), (9.6, 0, 255))
    expected = before.copy()
    expected[1:5, 2:6] = (10, 0, 255)
    expected[2:5, 3:4] = before[2:5, 3:4]
    assert hidden.tolist() == expected.tolist()
    assert image.tolist() == before.tolist()


@pytest.mark.parametrize("regions", [[], [[1, 1, 2, 2]], [[20, 20, 30, 20, 30, 30]]])
def test_without_a_region_the_picture_is_the_same(regions):
    image = np.zeros((6, 8, 3), np.uint8)
    assert hide_regions(image, regions, np.zeros((0, 4)), (1, 2, 3)) is image


@settings(deadline=None, max_examples=50)
@given(
    regions=st.lists(st.lists(st.floats(-9, 30), min_size=6, max_size=6), max_size=3),
    boxes=st.lists(st.lists(st.floats(-9, 30), min_size=4, max_size=4), max_size=3),
)
def test_nothing_of_a_person_is_hidden_and_nothing_beside_a_region(regions, boxes):
    image = np.full((20, 16, 3), 7, np.uint8)
    boxes = np.array([np.concatenate([np.sort(b[::2]), np.sort(b[1::2])]) for b in boxes])
    boxes = boxes.reshape(-1, 4)[:, [0, 2, 1, 3]]
    hidden = (hide_regions(image, regions, boxes, (0, 0, 0)) == 0).all(axis=2)
    assert not hidden[region_mask(regions, (20, 16)) == 0].any()
    for x1, y1, x2, y2 in np.round(boxes).astype(int).clip(0, 20):
        assert not hidden[y1:y2, x1:x2].any()
