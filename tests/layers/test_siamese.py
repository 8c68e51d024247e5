"""SimSiam's loss by hand, its stopped gradient, and the collapse that the loss cannot tell."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from person_search.layers.siamese import predictor, projector, simsiam_loss, spread


def test_by_hand():
    """Identity as predictor: views (1, 0) and (3, 4): cosine 3 / 5 both ways."""
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    assert float(simsiam_loss(first, second, nn.Identity())) == pytest.approx(-0.6)


@settings(max_examples=25, deadline=None)
@given(number=st.integers(1, 5), dim=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_bounds_symmetry_and_scale(number, dim, seed):
    torch.manual_seed(seed)
    first, second = torch.randn(2, number, dim).double()
    loss = simsiam_loss(first, second, nn.Identity())
    assert -1 - 1e-6 <= loss <= 1 + 1e-6
    assert torch.isclose(loss, simsiam_loss(second, first, nn.Identity()))
    assert torch.isclose(loss, simsiam_loss(3 * first, 0.5 * second, nn.Identity()), atol=1e-6)


def test_gradient_stops_at_the_target():
    """d/d first of -(cos(h(a), sg b) + cos(h(b), sg a)) / 2 is that of the first term alone."""
    torch.manual_seed(0)
    first, second = torch.randn(2, 4, 8).unbind()
    predict = nn.Linear(8, 8)
    first.requires_grad_()
    simsiam_loss(first, second, predict).backward()
    expected = torch.zeros_like(first)
    for i in range(4):
        row = first[i].detach().clone().requires_grad_()
        (-torch.cosine_similarity(predict(row), second[i], dim=0) / 8).backward()
        expected[i] = row.grad
    torch.testing.assert_close(first.grad, expected)


def test_nobody_gives_zero_that_touches_the_predictor():
    predict = predictor(8)
    loss = simsiam_loss(torch.zeros(0, 8), torch.zeros(0, 8), predict)
    loss.backward()
    assert loss.item() == 0.0
    assert all(float(p.grad.abs().sum()) == 0.0 for p in predict.parameters())


def test_shapes_of_the_published_mlps():
    """At 2048: three layers without shift, the last norm not learned; 2048-512-2048."""
    linear = [m for m in projector(2048) if isinstance(m, nn.Linear)]
    assert [tuple(m.weight.shape) for m in linear] == [(2048, 2048)] * 3
    assert [m.bias for m in linear] == [None] * 3
    assert not list(projector(8)[-1].parameters())
    hidden, out = (m for m in predictor(2048) if isinstance(m, nn.Linear))
    assert (hidden.out_features, out.out_features) == (512, 2048)
    assert hidden.bias is None and out.bias is not None


def test_learns_to_agree_without_collapse():
    """Two noisy views of 32 points: a linear encoder learns to drop the noisy half."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16, affine=False))
    predict = predictor(16)
    learner = torch.optim.SGD([*encoder.parameters(), *predict.parameters()], lr=0.1, momentum=0.9)
    signal = torch.randn(32, 8)

    def views() -> torch.Tensor:
        return torch.cat([signal.expand(2, 32, 8), 1.5 * torch.randn(2, 32, 8)], dim=2)

    def agreement() -> float:
        first, second = (encoder(v) for v in views())
        return float(torch.cosine_similarity(first, second).mean())

    before = agreement()
    for _ in range(600):
        first, second = (encoder(v) for v in views())
        loss = simsiam_loss(first, second, predict)
        learner.zero_grad()
        loss.backward()
        learner.step()
    assert before < 0.45
    assert agreement() > 0.7
    with torch.no_grad():
        points = encoder(views()[0])
    others = torch.cosine_similarity(points[:, None], points[None], dim=2)[~torch.eye(32).bool()]
    assert float(others.abs().mean()) < 0.5  # different points still lie apart


def test_shares_weigh_persons():
    """Cosines 1 and 0, of shares 1/4 and 3/4: -1/4."""
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    shares = torch.tensor([0.25, 0.75])
    assert float(simsiam_loss(first, second, nn.Identity(), shares)) == pytest.approx(-0.25)
    same = simsiam_loss(first, second, nn.Identity(), torch.tensor([0.5, 0.5]))
    assert torch.equal(same, simsiam_loss(first, second, nn.Identity()))


def test_one_person_alone_is_no_error():
    predict = predictor(8)
    simsiam_loss(*torch.randn(2, 1, 8).unbind(), predict).backward()
    assert all(p.grad.isfinite().all() for p in predict.parameters())


def test_spread_is_0_where_all_is_one_and_about_1_where_nothing_is():
    assert spread(torch.ones(9, 4)) == pytest.approx(0.0, abs=1e-6)
    torch.manual_seed(0)
    assert spread(torch.randn(4000, 64)) == pytest.approx(1.0, abs=0.02)
    assert spread(torch.zeros(0, 4)) == 0.0
