"""Pictures into networks and boxes back out."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from person_search.packs.pixels import (
    cut_out,
    pad,
    resize_shortest,
    resize_whole,
    to_input,
    to_picture,
    unit,
)


def test_a_letterbox_stands_at_the_top_left_and_is_filled():
    picture = np.full((480, 640, 3), 7, np.uint8)
    canvas, scale = resize_whole(picture, (416, 416), "letterbox", 114)
    assert canvas.shape == (416, 416, 3)
    assert (canvas[:312] == 7).all() and (canvas[312:] == 114).all()
    np.testing.assert_allclose(scale, 0.65)


def test_stretching_fills_the_whole_input():
    canvas, scale = resize_whole(np.full((50, 100, 3), 7, np.uint8), (80, 40), "stretch", 114)
    assert canvas.shape == (80, 40, 3) and (canvas == 7).all()
    np.testing.assert_allclose(scale, [0.4, 1.6])


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    resize=st.sampled_from(["letterbox", "stretch"]),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_boxes_come_back_to_where_they_were(height, width, resize, corner):
    picture = np.zeros((height, width, 3), np.uint8)
    _, scale = resize_whole(picture, (96, 64), resize, 0)
    box = np.array(corner) * [width, height, width, height]
    there = np.array([box * np.tile(scale, 2)])
    np.testing.assert_allclose(to_picture(there, scale, picture.shape)[0], box, atol=1e-3)


def test_boxes_outside_the_picture_are_clipped():
    boxes = to_picture(np.array([[-5.0, 2, 30, 99]]), np.array([0.5, 0.5]), (40, 50, 3))
    np.testing.assert_allclose(boxes, [[0, 4, 50, 40]])


def test_the_shorter_side_is_resized_as_detectron2_does_it():
    transforms = pytest.importorskip("detectron2.data.transforms")
    for height, width in ((576, 720), (1080, 1920), (33, 500), (100, 100)):
        made = transforms.ResizeShortestEdge(90, 150).get_transform(
            np.zeros((height, width, 3), np.uint8)
        )
        picture = np.zeros((height, width, 3), np.uint8)
        resized, scale = resize_shortest(picture, 90, 150, "pillow")
        assert resized.shape == (made.new_h, made.new_w, 3) and resized.dtype == np.uint8
        np.testing.assert_allclose(scale, [made.new_w / width, made.new_h / height])


@pytest.mark.parametrize("height, width", [(576, 720), (1080, 1920), (33, 500), (40, 30)])
def test_the_shorter_side_is_resized_as_torchvision_does_it(height, width):
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchvision.models.detection.transform")
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    transform = detection.GeneralizedRCNNTransform(90, 150, [0.0], [1.0], size_divisible=32)
    tensor = torch.from_numpy(picture).permute(2, 0, 1).float()
    (expected, _) = transform([tensor])
    resized, _ = resize_shortest(picture, 90, 150, "torchvision")
    assert resized.shape[:2] == expected.image_sizes[0]
    found = pad(to_input([resized], "BGR", (0, 0, 0), (1, 1, 1)), 32)
    np.testing.assert_allclose(found, expected.tensors.numpy(), atol=5e-2)  # of 255


def test_padding_is_below_and_to_the_right():
    padded = pad(np.full((1, 3, 20, 30), 9, np.float32), 16)
    assert padded.shape == (1, 3, 32, 32) and padded.dtype == np.float32
    assert (padded[..., :20, :30] == 9).all() and padded.sum() == 9 * 20 * 30 * 3


def test_a_crop_is_what_the_box_shows():
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5:10, 10:20] = 200
    assert (cut_out(picture, np.array([10, 5, 20, 10]), (8, 4)) == 200).all()
    # A box that leaves the picture, and one without a pixel, are the nearest part of it.
    assert cut_out(picture, np.array([-9, -9, 40, 40]), (20, 30)).tolist() == picture.tolist()
    assert cut_out(picture, np.array([29.9, 19.9, 30, 20]), (8, 4)).shape == (8, 4, 3)


def test_how_a_crop_is_resized():
    """In 1 x 8 pixels of 0 and 80 by turns, halves: each is the mean, or the two in the middle."""
    crop = np.tile(np.array([0, 80], np.uint8), (8, 4))[..., None].repeat(3, axis=2)
    crop[1:3] = 40
    box, size = np.array([0, 0, 8, 8]), (2, 2)
    area = cut_out(crop, box, size, "area")
    assert (area == 40).all()
    linear = cut_out(crop, box, size, "linear")  # rows 1 and 2, then 5 and 6
    np.testing.assert_array_equal(linear[:, 0, 0], [40, 40])
    # Pillow's cubic reaches over the whole crop where OpenCV's would see four pixels of it.
    expected = Image.fromarray(crop).resize((2, 2), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(cut_out(crop, box, size, "bicubic"), np.asarray(expected))
    larger = (16, 16)
    np.testing.assert_array_equal(
        cut_out(crop, box, larger, "area"), cut_out(crop, box, larger, "linear")
    )


def test_the_input_of_a_network_is_normalized_in_its_own_order_of_colors():
    picture = np.zeros((2, 1, 3), np.uint8)
    picture[:] = (10, 20, 30)  # BGR
    rgb = to_input([picture, picture], "RGB", (1, 2, 3), (2, 4, 8))
    assert rgb.shape == (2, 3, 2, 1) and rgb.dtype == np.float32 and rgb.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(rgb[1, :, 0, 0], [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8])
    np.testing.assert_allclose(
        to_input([picture], "BGR", (0, 0, 0), (1, 1, 1))[0, :, 1, 0], [10, 20, 30]
    )


def test_embeddings_get_the_length_one():
    np.testing.assert_allclose(unit(np.array([[3.0, 4], [0, 0]])), [[0.6, 0.8], [0, 0]])
    assert unit(np.zeros((0, 5))).shape == (0, 5)


def test_half_a_picture_is_resized_alike_alone_or_in_the_batch():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    crop = cut_out(picture, np.array([3, 4, 33, 34]), (16, 8))
    expected = cv2.resize(picture[4:34, 3:33], (8, 16), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(crop, expected)
