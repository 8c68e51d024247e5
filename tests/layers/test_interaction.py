"""BINet-style interactions by hand, and which side learns from which term."""

from math import log

import pytest
import torch

from person_search.layers.interaction import feature_interaction, prediction_interaction


def test_feature_interaction_by_hand():
    """Cosines .6 and 1: (.4 + 0) / 2."""
    rois = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    crops = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert feature_interaction(rois, crops).item() == pytest.approx(0.2)
    assert feature_interaction(rois, -rois).item() == pytest.approx(2.0)


def test_both_sides_learn_alike_from_the_features():
    a, b = (x.requires_grad_() for x in torch.randn(2, 5, 8).unbind())
    ours = torch.autograd.grad(feature_interaction(a, b), (a, b))
    theirs = torch.autograd.grad(feature_interaction(b, a), (a, b))
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y)
        assert x.abs().sum() > 0


def test_prediction_interaction_by_hand():
    """p = (1/2, 1/2), q = (3/4, 1/4); a second RoI that agrees."""
    rois = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    crops = torch.tensor([[log(3), 0.0], [1.0, 2.0]])
    forward = 0.5 * log(2 / 3) + 0.5 * log(2)
    backward = 0.75 * log(3 / 2) + 0.25 * log(1 / 2)
    expected = (forward + backward) / 2 / 2
    assert prediction_interaction(rois, crops).item() == pytest.approx(expected)
    assert prediction_interaction(crops, rois).item() == pytest.approx(expected)


def test_a_target_gets_no_gradient():
    """d KL(q || softmax(x)) / dx is p - q; with a target that learns it would be another."""
    rois, crops = (x.requires_grad_() for x in torch.randn(2, 3, 4).unbind())
    prediction_interaction(rois, crops).backward()
    p, q = rois.detach().softmax(dim=1), crops.detach().softmax(dim=1)
    torch.testing.assert_close(rois.grad, (p - q) / 2 / 3)
    torch.testing.assert_close(crops.grad, (q - p) / 2 / 3)


def test_no_roi_gives_0_that_can_be_learned_from():
    for loss in (feature_interaction, prediction_interaction):
        rois, crops = (x.requires_grad_() for x in torch.zeros(2, 0, 4).unbind())
        value = loss(rois, crops)
        value.backward()
        assert value.item() == 0.0 and rois.grad.shape == crops.grad.shape == (0, 4)


def test_half_precision_is_computed_in_float32():
    rois, crops = torch.randn(2, 6, 500).mul(10).bfloat16().unbind()
    for loss in (feature_interaction, prediction_interaction):
        value = loss(rois, crops)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(rois.float(), crops.float()))
