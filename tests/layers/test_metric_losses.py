"""Triplet loss against a loop over all triplets; center loss against autograd and torch's SGD."""

import math
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from detectron2.utils import comm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from person_search.layers.metric_losses import CenterLoss, batch_hard_triplet

# ------------------------------------------------------------------------------------- triplet


def over_all_triplets(features: Tensor, ids: list[int], margin: float) -> float:
    """The hardest of all triplets of each anchor, one by one."""
    points = features.double().tolist()
    total = 0.0
    for anchor, of in zip(points, ids, strict=True):
        hinges = [
            math.dist(anchor, points[p]) - math.dist(anchor, points[n]) + margin
            for p, n in product(range(len(ids)), repeat=2)
            if ids[p] == of != ids[n]
        ]
        total += max([0.0, *hinges])
    return total / len(ids)


def test_triplet_by_hand():
    """On a line: 0 and 1 of person 0, 3 of person 1.

    Anchor 0: 1 - 3 + 2.5 = 0.5; anchor 1: 1 - 2 + 2.5 = 1.5; anchor 3 is alone: 0 - 2 + 2.5 = 0.5.
    """
    features = torch.tensor([[0.0], [1.0], [3.0]])
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1]), margin=2.5)
    assert loss.item() == pytest.approx((0.5 + 1.5 + 0.5) / 3, abs=1e-5)
    assert batch_hard_triplet(features, torch.tensor([0, 0, 1]), margin=0.3).item() == 0


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    margin=st.sampled_from([0.0, 0.3, 2.0]),
    seed=st.integers(0, 1000),
)
def test_triplet_equals_the_loop(ids, margin, seed):
    features = torch.randn(len(ids), 5, generator=torch.Generator().manual_seed(seed))
    found = batch_hard_triplet(features, torch.tensor(ids), margin).item()
    assert found == pytest.approx(over_all_triplets(features, ids, margin), rel=1e-4, abs=1e-5)


def test_the_length_of_features_matters():
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([0, 0, 1, 1, 2, 2])
    short, long = (batch_hard_triplet(features * k, ids, margin=0.0) for k in (1, 3))
    assert long.item() == pytest.approx(3 * short.item(), rel=1e-5) and short.item() > 0


def test_identical_features_have_a_finite_gradient():
    features = torch.ones(4, 8, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3, abs=1e-5)
    assert features.grad.isfinite().all()


def test_a_single_identity_has_no_triplet():
    features = torch.randn(4, 8, requires_grad=True)
    loss = batch_hard_triplet(features, torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros(4, 8))


def test_triplet_gradient_by_finite_differences():
    torch.manual_seed(0)
    features = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda x: batch_hard_triplet(x, ids, 1.0), features)


# -------------------------------------------------------------------------------------- center

BATCHES = [([0, 0, 2, 3], 1), ([2, 2, 2, 2], 2), ([1, 3, 0, 2], 3), ([3, 3, 1], 4), ([0, 1, 1], 5)]
"""Ids and the seed of their features."""


def features_of(ids: list[int], seed: int) -> Tensor:
    return torch.randn(len(ids), 6, generator=torch.Generator().manual_seed(seed))


def test_center_loss_by_hand():
    loss = CenterLoss(2, 2, lr=0.25)
    loss.centers.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    features = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 3.0]])
    assert loss(features, torch.tensor([0, 1, 1])).item() == pytest.approx((25 + 1 + 4) / 3)
    # c - 0.25 * 2/3 * sum(c - f): sums are (-3, -4) and (0, 1) + (0, -2).
    expected = torch.tensor([[0.5, 4 / 6], [1.0, 1 + 1 / 6]])
    torch.testing.assert_close(loss.centers, expected)


def test_centers_move_as_by_sgd_on_the_unweighted_loss():
    """The published code: centers have their own optimizer, gradients freed of the weight."""
    weight = 5e-4
    torch.manual_seed(0)
    loss = CenterLoss(4, 6).train()
    centers = nn.Parameter(loss.centers.clone())
    optimizer = torch.optim.SGD([centers], lr=0.5)
    for ids, seed in BATCHES:
        ours = features_of(ids, seed).requires_grad_()
        theirs = features_of(ids, seed).requires_grad_()
        value = loss(ours, torch.tensor(ids))
        (weight * value).backward()
        reference = (theirs - centers[torch.tensor(ids)]).square().sum(dim=1).mean()
        optimizer.zero_grad()
        (weight * reference).backward()
        centers.grad /= weight
        optimizer.step()
        torch.testing.assert_close(value, reference, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(loss.centers, centers.detach(), rtol=1e-6, atol=1e-6)


def test_centers_are_state_and_no_parameters():
    loss = CenterLoss(4, 6)
    assert list(loss.state_dict()) == ["centers"] and not list(loss.parameters())


def test_centers_rest_at_test():
    loss = CenterLoss(4, 6).eval()
    before = loss.centers.clone()
    loss(features_of([0, 1], 0), torch.tensor([0, 1]))
    assert torch.equal(loss.centers, before)


def test_nobody_moves_no_center():
    loss = CenterLoss(4, 6).train()
    before = loss.centers.clone()
    features = torch.zeros(0, 6, requires_grad=True)
    value = loss(features, torch.zeros(0, dtype=torch.int64))
    value.backward()
    assert value.item() == 0 and torch.equal(loss.centers, before)


def test_center_gradient_by_finite_differences():
    loss = CenterLoss(4, 6).eval()
    ids = torch.tensor([0, 3, 3])
    features = features_of(ids.tolist(), 0).requires_grad_()
    loss(features, ids).backward()
    step = 0.25  # the loss is quadratic: a central difference is exact
    for at in product(range(3), range(6)):
        moved = torch.zeros(3, 6)
        moved[at] = step
        with torch.no_grad():
            slope = (loss(features + moved, ids) - loss(features - moved, ids)) / (2 * step)
        assert features.grad[at].item() == pytest.approx(slope.item(), abs=1e-4)


def move_on_a_rank(rank: int, meeting: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{meeting}", timedelta(seconds=60), world_size=2, rank=rank
    )
    comm.create_local_process_group(2)
    loss = CenterLoss(4, 6).train()
    loss.centers.copy_(features_of([0] * 4, 99))
    for ids, seed in BATCHES:
        # One rank has more than the other, and of the last batch all.
        half = slice(0, len(ids) // 2) if len(ids) > 3 else slice(0, 0)
        mine = half if rank == 0 else slice(half.stop, None)
        loss(features_of(ids, seed)[mine], torch.tensor(ids)[mine])
    torch.save(loss.centers, folder / f"rank{rank}.pth")
    dist.barrier()  # a rank that leaves early can take the other one with it
    dist.destroy_process_group()


def test_two_processes_move_the_centers_as_one(tmp_path):
    torch.multiprocessing.spawn(move_on_a_rank, (tmp_path / "meeting", tmp_path), nprocs=2)
    loss = CenterLoss(4, 6).train()
    loss.centers.copy_(features_of([0] * 4, 99))
    for ids, seed in BATCHES:
        loss(features_of(ids, seed), torch.tensor(ids))
    for rank in (0, 1):
        assert torch.equal(torch.load(tmp_path / f"rank{rank}.pth"), loss.centers)
