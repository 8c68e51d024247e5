"""Deformable convolutions begin as plain ones, and sample where they are told to."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import deform_conv2d

from person_search.layers.deformable import DeformableConv, sampled_conv


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("modulated", [False, True])
def test_it_begins_as_a_plain_convolution(modulated):
    """The modulation of an untrained one is sigmoid(0), one half, everywhere."""
    layer, x = DeformableConv(3, 5, modulated), noise(2, 3, 6, 7)
    plain = F.conv2d(x, layer.conv.weight * (0.5 if modulated else 1), layer.conv.bias, padding=1)
    torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=1e-5)
    assert (layer.conv.bias is not None) == modulated


def test_an_offset_moves_every_sample():
    """An offset of one row: the convolution of the map that is moved up by one row."""
    layer, x = DeformableConv(2, 2), noise(1, 2, 6, 6)
    with torch.no_grad():
        layer.offsets.bias[0::2] = 1.0  # y and x of each sample in turn
    moved = F.conv2d(F.pad(x, (1, 1, 0, 2)), layer.conv.weight)
    torch.testing.assert_close(layer(x), moved, atol=1e-5, rtol=1e-5)


def test_offsets_learn_on_a_cpu_and_under_autocast():
    layer = DeformableConv(2, 2, modulated=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(noise(1, 2, 5, 5))
    assert out.dtype == torch.float32
    out.square().sum().backward()
    assert layer.offsets.weight.grad.abs().sum() > 0 and layer.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (1, 4), (1, 1)])
def test_samples_of_a_grid_are_those_of_torchvision(modulated, size):
    """The values, and the gradients of all that learns; some samples lie outside of the map."""
    generator = torch.Generator().manual_seed(1)
    x, offsets, weights = (torch.randn(2, c, *size, generator=generator) for c in (3, 18, 9))
    kernel, bias = torch.randn(4, 3, 3, 3, generator=generator), torch.ones(4)
    parts = [x, 2 * offsets, kernel, *([bias, weights] if modulated else [])]
    given = [part.requires_grad_() for part in parts]
    optional = given[3:] if modulated else [None, None]
    ours = sampled_conv(*given[:3], *optional)
    theirs = deform_conv2d(*given[:3], optional[0], padding=1, mask=optional[1])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    direction = torch.randn(ours.shape, generator=generator)
    found = torch.autograd.grad(ours, given, direction)
    expected = torch.autograd.grad(theirs, given, direction)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
