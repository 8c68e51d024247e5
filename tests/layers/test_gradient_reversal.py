"""The gradient in front of the layer is turned round, that behind it is not."""

import math

import pytest
import torch
from torch import nn

from person_search.layers.gradient_reversal import reversal_factor, scale_gradient


@pytest.mark.parametrize("factor", [-0.3, -1.0, 0.0, 2.0])
def test_forward_is_the_identity_and_the_gradient_is_scaled(factor):
    torch.manual_seed(0)
    x = torch.randn(3, 4, requires_grad=True)
    weights = torch.randn(3, 4)
    y = scale_gradient(x, factor)
    assert torch.equal(y, x)
    (weights * y).sum().backward()
    torch.testing.assert_close(x.grad, factor * weights)


def test_the_classifier_behind_it_learns_as_without_it():
    """By finite differences: its own gradient is that of the loss, not turned round."""
    torch.manual_seed(0)
    base, head = nn.Linear(4, 3).double(), nn.Linear(3, 2).double()
    x, labels = torch.randn(5, 4).double(), torch.tensor([0, 1, 1, 0, 1])

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(head(scale_gradient(base(x), -0.25)), labels)

    loss().backward()
    for module, sign in ((head, 1.0), (base, -0.25)):
        with torch.no_grad():
            found = torch.zeros_like(module.weight)
            for index in range(module.weight.numel()):
                weight = module.weight.view(-1)
                weight[index] += 1e-6
                above = loss()
                weight[index] -= 2e-6
                found.view(-1)[index] = (above - loss()) / 2e-6
                weight[index] += 1e-6
        torch.testing.assert_close(module.weight.grad, sign * found, atol=1e-6, rtol=1e-4)


def test_schedules():
    assert [reversal_factor("constant", p) for p in (0.0, 0.3, 1.0)] == [1.0] * 3
    assert reversal_factor("sigmoid", 0.0) == 0.0
    assert reversal_factor("sigmoid", 0.1) == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    assert reversal_factor("sigmoid", 1.0) == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(ValueError, match="legal: constant, sigmoid"):
        reversal_factor("linear", 0.0)
