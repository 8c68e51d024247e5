"""From what a user names to the persons who are looked for."""

import numpy as np
import pytest

from person_search.errors import QueryError
from person_search.gallery.queries import clip_boxes, from_the_left, fuse, xywh
from person_search.structures import Detections


def test_fuse_is_the_mean_direction():
    embeds = np.float32([[1, 0], [0, 1]])
    np.testing.assert_allclose(fuse(embeds), [0.5**0.5, 0.5**0.5], atol=1e-6)
    np.testing.assert_allclose(fuse(embeds[:1]), embeds[0])


def test_boxes_are_clipped_to_their_picture():
    boxes = [[-30, -10, 1000, 2000], [5, 6, 7, 8]]
    np.testing.assert_array_equal(clip_boxes(boxes, (240, 320)), [[0, 0, 320, 240], [5, 6, 7, 8]])
    assert clip_boxes(np.zeros((0, 4)), (240, 320)).shape == (0, 4)


@pytest.mark.parametrize(
    "box",
    [[400, 10, 500, 60], [-50, 10, 0, 60], [20, 60, 10, 90], [5, 5, 6, 80], [0, 0, np.nan, 9]],
)
def test_a_box_that_shows_nothing(box):
    with pytest.raises(QueryError, match="shows nothing of the picture, which is 320x240"):
        clip_boxes([[0, 0, 9, 9], box], (240, 320))


def test_people_are_numbered_from_the_left():
    boxes = np.float32([[50, 0, 60, 9], [0, 0, 10, 9], [20, 0, 40, 9]])
    found = from_the_left(Detections(boxes, np.float32([0.9, 0.8, 0.7]), np.eye(3)))
    assert found.scores.tolist() == pytest.approx([0.8, 0.7, 0.9])
    np.testing.assert_array_equal(found.boxes, boxes[[1, 2, 0]])
    np.testing.assert_array_equal(found.embeds, np.eye(3)[[1, 2, 0]])


def test_a_box_as_the_option_takes_it():
    assert xywh([10.4, 20, 40, 60.2]) == "10,20,30,40"
