"""Persons cut out of scenes: which pixels, and how far boxes move."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.layers.crops import cut_crops, moved_corners, shifted

BOXES = torch.tensor([[10.0, 20.0, 50.0, 120.0], [-5.0, 0.0, 5.0, 40.0]])  # 40x100 and 10x40


def images(number: int = 2) -> torch.Tensor:
    return torch.randn(number, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def test_a_crop_of_its_box_s_size_has_its_pixels():
    x = images()
    boxes = [torch.tensor([[4.0, 2, 12, 22]]), torch.tensor([[0.0, 0, 8, 20], [24, 4, 32, 24]])]
    crops = cut_crops(x, boxes, (20, 8))
    expected = [x[0, :, 2:22, 4:12], x[1, :, :20, :8], x[1, :, 4:24, 24:32]]
    torch.testing.assert_close(crops, torch.stack(expected))


def test_a_smaller_crop_averages():
    x = images(1)
    (crop,) = cut_crops(x, [torch.tensor([[0.0, 0.0, 32.0, 24.0]])], (4, 4))
    expected = torch.nn.functional.avg_pool2d(x, (6, 8))[0]
    torch.testing.assert_close(crop, expected)


def test_outside_of_the_image_is_0():
    half_outside = torch.tensor([[-16.0, 0.0, 16.0, 24.0]])
    (crop,) = cut_crops(torch.ones(1, 3, 24, 32), [half_outside], (3, 8))
    assert crop[:, :, :3].abs().max() == 0 and crop[:, :, 4:].min() == 1


def test_images_without_persons():
    none = torch.zeros(0, 4)
    assert cut_crops(images(), [none, none], (16, 8)).shape == (0, 3, 16, 8)
    assert cut_crops(images(), [none, BOXES], (16, 8)).shape == (2, 3, 16, 8)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 0.4), seed=st.integers(0, 2**31))
def test_how_far_boxes_move(share, seed):
    torch.manual_seed(seed)
    size = torch.tensor([[40.0, 100.0, 40.0, 100.0], [10.0, 40.0, 10.0, 40.0]])
    for move in (moved_corners, shifted):
        moved = move(BOXES, share)
        assert ((moved - BOXES).abs() <= share * size + 1e-4).all()
        assert (moved[:, 2:] > moved[:, :2]).all()
    torch.testing.assert_close(moved[:, 2:] - moved[:, :2], size[:, :2])  # shifted keeps the size


@pytest.mark.parametrize("move", [moved_corners, shifted])
def test_moves_are_uniform_repeatable_and_need_no_box(move):
    torch.manual_seed(0)
    moved = move(BOXES[:1].expand(4000, 4), 0.1)
    offsets = moved - BOXES[0]
    assert offsets.mean(dim=0).abs().max() < 0.5
    expected = torch.tensor([4.0, 10.0, 4.0, 10.0]) / 3**0.5  # of a uniform distribution
    torch.testing.assert_close(offsets.std(dim=0), expected, rtol=0.05, atol=0)
    correlation = torch.corrcoef(offsets[:, [0, 2]].T)[0, 1]
    assert correlation > 0.99 if move is shifted else abs(correlation) < 0.1
    torch.manual_seed(0)
    assert torch.equal(moved, move(BOXES[:1].expand(4000, 4), 0.1))
    assert move(BOXES[:0], 0.1).shape == (0, 4)
