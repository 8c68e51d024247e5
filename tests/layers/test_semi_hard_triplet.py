import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from person_search.layers.metric_losses import semi_hard_triplet


def on_circle(*degrees: float) -> torch.Tensor:
    """Unit vectors, whose squared distance is 2 - 2 cos of the angle between them."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def squared(degrees: float) -> float:
    return 2 - 2 * float(torch.tensor(degrees, dtype=torch.float64).deg2rad().cos())


def test_the_nearest_negative_that_is_farther_than_the_positive():
    # Pairs (0, 40) and (40, 0). From 0: negatives at 30 (too hard) and 60 and 90: 60 is taken.
    # From 40: negatives at 10, 20, 50 degrees away: 50 is taken.
    features = on_circle(0, 40, -30, 60, 90)
    ids = torch.tensor([7, 7, 1, 2, 3])
    wanted = (1 + squared(40) - squared(60)) + (1 + squared(40) - squared(50))
    assert semi_hard_triplet(features, ids).item() == pytest.approx(wanted / 2)


def test_without_a_farther_negative_the_farthest_is_taken():
    # From 0: 10 and 20 degrees away, both nearer than the positive at 40. From 40: 20 and 30.
    features, ids = on_circle(0, 40, 10, 20), torch.tensor([0, 0, 1, 2])
    wanted = (1 + squared(40) - squared(20)) + (1 + squared(40) - squared(30))
    assert semi_hard_triplet(features, ids).item() == pytest.approx(wanted / 2)


def test_far_negatives_cost_nothing_but_count():
    # Pairs of 0 and of 1 are 2 degrees apart, the identities 180: margin .1 is kept by all four.
    features, ids = on_circle(0, 2, 180, 182), torch.tensor([0, 0, 1, 1])
    assert semi_hard_triplet(features, ids, margin=0.1).item() == 0


@pytest.mark.parametrize("ids", [[], [0], [0, 1, 2], [5, 5, 5]])
def test_without_a_triplet_it_is_zero_and_has_a_gradient(ids):
    features = torch.randn(len(ids), 3, requires_grad=True)
    loss = semi_hard_triplet(features, torch.tensor(ids, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0 and torch.equal(features.grad, torch.zeros(len(ids), 3))


@given(st.integers(0, 10**6), st.floats(0.1, 50))
def test_length_of_features_and_order_of_rows_play_no_part(seed, length):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    ids = torch.randint(4, (12,), generator=generator)
    order = torch.randperm(12, generator=generator)
    loss = semi_hard_triplet(features, ids)
    torch.testing.assert_close(semi_hard_triplet(features[order] * length, ids[order]), loss)
    assert 0 <= loss.item() <= 5  # distances are between 0 and 4
