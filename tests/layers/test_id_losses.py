"""Identification losses: values by hand, the weights of PRW, and finite differences."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from person_search.layers.id_losses import (
    ClassBalancedCrossEntropy,
    CrossEntropy,
    FocalCrossEntropy,
    class_balanced_weights,
)

LOGITS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 2.0]])
TARGETS = torch.tensor([0, 1])
LOG_P = (1 - math.log(2 * math.e + 1), 2 - math.log(1 + 2 * math.e**2))
"""Of the true identities."""


def test_plain_cross_entropy_by_hand():
    assert CrossEntropy()(LOGITS, TARGETS).item() == pytest.approx(-sum(LOG_P) / 2)


def test_smoothing_by_hand():
    """Target eps / L everywhere and 1 - eps more at the true identity."""
    eps, first = 0.3, LOG_P[0]
    # Logits 1, 0, 1: the log-probabilities of the others are first - 1 and first.
    by_hand = -(1 - eps) * first - eps / 3 * (first + (first - 1) + first)
    assert CrossEntropy(eps)(LOGITS[:1], TARGETS[:1]).item() == pytest.approx(by_hand)


# ------------------------------------------------------------------------------- class-balanced


def test_weights_by_hand():
    """beta = 1/2: (1 - beta) / (1 - beta^n) is 1, 2/3, 4/7 for n = 1, 2, 3; their sum is 47/21."""
    expected = torch.tensor([1, 2 / 3, 4 / 7]) * 3 * 21 / 47
    torch.testing.assert_close(class_balanced_weights(torch.tensor([1, 2, 3]), 0.5), expected)


def test_an_identity_never_seen_counts_as_seen_once():
    seen_once = class_balanced_weights(torch.tensor([1, 5]), 0.9)
    assert torch.equal(class_balanced_weights(torch.tensor([0, 5]), 0.9), seen_once)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-9])
def test_the_weights_sum_to_the_number_of_identities(beta):
    counts = torch.tensor([1, 4, 465, 23, 2])
    weights = class_balanced_weights(counts, beta)
    assert weights.sum().item() == pytest.approx(5, rel=1e-6)
    if beta == 0:
        assert torch.equal(weights, torch.ones(5))
    if beta > 1 - 1e-8:  # the limit: inverse frequency
        torch.testing.assert_close(weights / weights[0], 1 / counts, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "beta, largest, median, smallest",
    [(0.9, 6.9, 0.76, 0.69), (0.99, 11.7, 0.57, 0.12)]
    + [(0.999, 12.4, 0.54, 0.033), (0.9999, 12.4, 0.54, 0.027)],
)
def test_weights_of_prw(shared_data, beta, largest, median, smallest):
    """Figures from the counts of PRW's 483 training identities (1 to 465 boxes, median 23)."""
    path = shared_data / "annotations" / "AlignPS" / "prw_train_pid.json"
    ids = torch.tensor([a["person_id"] for a in json.loads(path.read_text())["annotations"]])
    counts = torch.unique(ids[ids >= 0], return_counts=True)[1]
    assert (len(counts), counts.sum(), counts.min(), counts.max()) == (483, 14907, 1, 465)
    weights = class_balanced_weights(counts, beta)
    assert weights.max().item() == pytest.approx(largest, abs=0.05)
    assert weights.median().item() == pytest.approx(median, abs=0.005)
    assert weights.min().item() == pytest.approx(smallest, abs=0.005 if smallest > 0.1 else 5e-4)
    of_a_sample = (weights * counts).sum() / counts.sum()
    if beta >= 0.999:
        assert of_a_sample.item() == pytest.approx(0.40, abs=0.01)


@pytest.mark.parametrize("normalize", ["samples", "weights"])
def test_class_balanced_loss_by_hand(normalize):
    loss = ClassBalancedCrossEntropy(torch.tensor([1, 2, 3]), 0.5, normalize)
    first, second = (x * 63 / 47 for x in (1, 2 / 3))
    total = 2 if normalize == "samples" else first + second
    by_hand = -(first * LOG_P[0] + second * LOG_P[1]) / total
    assert loss(LOGITS, TARGETS).item() == pytest.approx(by_hand)


def test_normalized_by_weights_it_is_the_weighted_mean_of_torch():
    loss = ClassBalancedCrossEntropy(torch.tensor([1, 7, 30]), 0.99, "weights")
    expected = F.cross_entropy(LOGITS, TARGETS, weight=loss.weights)
    torch.testing.assert_close(loss(LOGITS, TARGETS), expected)


def test_beta_zero_is_cross_entropy():
    for normalize in ("samples", "weights"):
        loss = ClassBalancedCrossEntropy(torch.tensor([1, 7, 30]), 0.0, normalize)
        torch.testing.assert_close(loss(LOGITS, TARGETS), CrossEntropy()(LOGITS, TARGETS))


def test_the_weights_are_no_part_of_a_checkpoint():
    assert not ClassBalancedCrossEntropy(torch.tensor([1, 2, 3])).state_dict()


# ---------------------------------------------------------------------------------------- focal


def test_focal_by_hand():
    by_hand = -sum((1 - math.exp(x)) ** 2 * x for x in LOG_P) / 2
    assert FocalCrossEntropy(2.0)(LOGITS, TARGETS).item() == pytest.approx(by_hand)
    even = torch.zeros(1, 2)  # p = 1/2: (1/2)^3 log 2
    assert FocalCrossEntropy(3.0)(even, TARGETS[:1]).item() == pytest.approx(math.log(2) / 8)


def test_focal_without_focus_is_cross_entropy():
    torch.testing.assert_close(
        FocalCrossEntropy(0.0)(LOGITS, TARGETS), CrossEntropy()(LOGITS, TARGETS)
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_of_a_certain_identity_has_a_finite_gradient(gamma):
    logits = torch.tensor([[100.0, 0.0], [-100.0, 0.0]], requires_grad=True)
    loss = FocalCrossEntropy(gamma)(logits, torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(50)
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0], [-0.5, 0.5]]))


# ----------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(),
        CrossEntropy(0.1),
        ClassBalancedCrossEntropy(torch.tensor([1, 2, 40, 3]), 0.99, "samples"),
        ClassBalancedCrossEntropy(torch.tensor([1, 2, 40, 3]), 0.99, "weights"),
        FocalCrossEntropy(0.5),
        FocalCrossEntropy(2.0),
    ],
    ids=["plain", "smoothed", "balanced", "balanced_mean", "focal_half", "focal"],
)
def test_gradients_by_finite_differences(loss):
    torch.manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 3, 2, 2, 1])
    assert torch.autograd.gradcheck(lambda x: loss.double()(x, targets), logits)
