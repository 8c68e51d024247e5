"""OIM by hand, against a loop over single persons, and on two processes against one."""

import math
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from detectron2.utils import comm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from person_search.labels import BACKGROUND, UNLABELED
from person_search.layers.gather import gather_rows
from person_search.layers.id_losses import FocalCrossEntropy
from person_search.layers.oim import OIMLoss

DIM = 6


def unit(number: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(number, DIM, generator=generator))


def filled(num_ids: int = 4, queue_size: int = 3, **others) -> OIMLoss:
    """With a row in every place."""
    loss = OIMLoss(num_ids, queue_size, DIM, **others).train()
    loss.table.copy_(unit(num_ids, 98))
    loss.queue.copy_(unit(queue_size, 99))
    return loss


def state(loss: OIMLoss) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in loss.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], **close) -> None:
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], **close)


# The paper, by hand and by a loop ------------------------------------------------------------


def test_by_hand():
    loss = OIMLoss(num_ids=2, queue_size=2, dim=2, momentum=0.5, scale=2.0).train()
    loss.table.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    loss.queue[0] = torch.tensor([0.0, 1.0])
    embeddings = torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]])
    value = loss(embeddings, torch.tensor([0, 1, UNLABELED, BACKGROUND]))
    # Similarities with (V0, V1, U0, U1), times 2: (1.2, 0, 1.6, 0) and (0, 0, 2, 0).
    first = math.log(math.exp(1.2) + math.exp(1.6) + 2) - 1.2
    second = math.log(math.exp(2) + 3) - 0
    assert value.item() == pytest.approx((first + second) / 2)
    # V0: (.5 + .3, .4) normalized; V1: (0, .5) normalized. The third person fills the first slot.
    table = torch.tensor([[0.8, 0.4], [0.0, 1.0]])
    table[0] /= math.sqrt(0.8)
    torch.testing.assert_close(loss.table, table)
    torch.testing.assert_close(loss.queue, torch.tensor([[0.8, 0.6], [0.0, 0.0]]))
    assert loss.position.item() == 1


def test_focal_with_another_scale_of_the_queue_by_hand():
    """AlignPS: -(1 - p)^2 log p; similarities with the table times 3, with the queue times 2."""
    criterion = FocalCrossEntropy(gamma=2.0)
    loss = OIMLoss(1, 1, 2, scale=3.0, queue_scale=2.0, criterion=criterion).train()
    loss.table[0], loss.queue[0] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    value = loss(torch.tensor([[0.6, 0.8], [0.0, 1.0]]), torch.tensor([0, UNLABELED]))
    p = math.exp(1.8) / (math.exp(1.8) + math.exp(1.6))
    assert value.item() == pytest.approx(-((1 - p) ** 2) * math.log(p))
    assert loss.queue.tolist() == [[0.0, 1.0]]  # what is remembered has no scale
    assert loss(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)) == 0


def one_by_one(loss: OIMLoss, embeddings: Tensor, ids: list[int]) -> dict[str, Tensor]:
    """The state after a batch, person by person."""
    after = state(loss)
    for x, i in zip(embeddings, ids, strict=True):
        if i >= 0:
            row = loss.momentum * after["table"][i] + (1 - loss.momentum) * x
            after["table"][i] = row / row.norm()
        elif i == UNLABELED:
            after["queue"][after["position"]] = x
            after["position"] = (after["position"] + 1) % len(after["queue"])
    return after


BATCH = st.lists(st.integers(BACKGROUND, 3), max_size=12)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(BATCH, min_size=1, max_size=3), momentum=st.sampled_from([0.0, 0.5, 0.9]))
def test_the_rows_learn_as_one_by_one(batches, momentum):
    loss = filled(momentum=momentum)
    for k, ids in enumerate(batches):
        embeddings = unit(len(ids), k)
        expected = one_by_one(loss, embeddings, ids)
        loss(embeddings, torch.tensor(ids, dtype=torch.int64))
        assert_same(state(loss), expected, rtol=0, atol=1e-6)


def test_the_order_of_one_persons_samples_matters():
    embeddings, ids = unit(3, 0), torch.tensor([1, 1, 1])
    forth, back = filled(), filled()
    forth(embeddings, ids)
    back(embeddings.flip(0), ids)
    assert (forth.table[1] - back.table[1]).abs().max() > 0.01


def test_the_gradient_is_that_of_the_rows_before_they_learn():
    """scale * (p - one_hot) [V; U] / number of labeled persons."""
    loss = filled(scale=10.0)
    ids = torch.tensor([2, UNLABELED, 0, BACKGROUND, 2])
    embeddings = unit(5, 1).requires_grad_()
    rows = torch.cat([loss.table, loss.queue]).clone()
    loss(embeddings, ids).backward()
    assert not torch.equal(loss.table, rows[:4])
    p = (10 * embeddings.detach() @ rows.T).softmax(dim=1)
    expected = torch.zeros(5, DIM)
    for k in (0, 2, 4):
        one_hot = torch.eye(len(rows))[ids[k]]
        expected[k] = 10 * (p[k] - one_hot) @ rows / 3
    torch.testing.assert_close(embeddings.grad, expected, rtol=1e-4, atol=1e-6)


def test_finite_differences_agree():
    loss = filled(scale=3.0).eval()
    ids = torch.tensor([2, UNLABELED, 0])
    embeddings = unit(3, 1).requires_grad_()
    loss(embeddings, ids).backward()
    step = 0.01
    for at in [(0, 1), (1, 0), (2, 5)]:
        moved = torch.zeros(3, DIM)
        moved[at] = step
        slope = (loss(embeddings + moved, ids) - loss(embeddings - moved, ids)) / (2 * step)
        assert embeddings.grad[at].item() == pytest.approx(slope.item(), abs=2e-3)


def test_rows_never_seen_take_part_with_similarity_zero():
    loss = OIMLoss(num_ids=3, queue_size=4, dim=DIM).train()
    assert loss(unit(1, 0), torch.tensor([1])).item() == pytest.approx(math.log(7))


# What else holds -----------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[], [UNLABELED] * 2, [BACKGROUND], [BACKGROUND, UNLABELED]])
def test_nobody_labeled_gives_zero_and_still_fills_the_queue(ids):
    loss = filled()
    embeddings = unit(len(ids), 0).requires_grad_()
    expected = one_by_one(loss, embeddings.detach(), ids)
    value = loss(embeddings, torch.tensor(ids, dtype=torch.int64))
    value.backward()
    assert value.item() == 0 and torch.equal(embeddings.grad, torch.zeros_like(embeddings))
    assert_same(state(loss), expected)


def test_the_table_rests_at_test():
    loss = filled().eval()
    before = state(loss)
    loss(unit(3, 0), torch.tensor([0, 1, UNLABELED]))
    assert_same(state(loss), before, rtol=0, atol=0)


def test_float32_under_autocast():
    """Similarities of 30 * cos in bfloat16 would be off by a tenth."""
    embeddings, ids = unit(8, 0), torch.arange(8) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = filled()(embeddings, ids)
    assert found.dtype == torch.float32
    assert found.item() == filled()(embeddings, ids).item()
    loss = filled()
    loss(embeddings.bfloat16(), ids)
    assert loss.table.dtype == torch.float32


def test_without_a_queue_the_unlabeled_play_no_part():
    loss, ids = filled(queue_size=0), torch.tensor([0, UNLABELED, 2])
    with_nobody = filled(queue_size=0)(unit(3, 0)[[0, 2]], ids[[0, 2]])
    assert loss(unit(3, 0), ids).item() == with_nobody.item()
    assert loss.position.item() == 0


@pytest.mark.parametrize("training", [True, False])
def test_a_person_outside_of_the_table_is_an_error(training):
    loss = filled().train(training)
    before = state(loss)
    with pytest.raises(ValueError, match="person id 4, but a table of 4 identities"):
        loss(unit(2, 0), torch.tensor([0, 4]))
    assert_same(state(loss), before)


def test_table_queue_and_position_are_state_and_no_parameters():
    loss, other = filled(), OIMLoss(4, 3, DIM).train()
    loss(unit(4, 0), torch.tensor([0, UNLABELED, UNLABELED, 2]))
    assert set(loss.state_dict()) == {"table", "queue", "position"} and not [*loss.parameters()]
    other.load_state_dict(loss.state_dict())
    for each in (loss, other):
        each(unit(3, 1), torch.tensor([UNLABELED, 2, UNLABELED]))
    assert_same(state(loss), state(other), rtol=0, atol=0)
    assert loss.position.item() == 1


# Several processes ---------------------------------------------------------------------------

BATCHES = [
    [0, 0, 2, UNLABELED],
    [2, BACKGROUND, 2, UNLABELED, UNLABELED, 2],
    [UNLABELED, UNLABELED],  # nobody labeled, one each
    [1, 3, 0],  # all on rank 1
    [3, BACKGROUND, 3, UNLABELED],
]


class Model(nn.Module):
    """The loss behind a parameter, since distributed training wants one."""

    def __init__(self):
        super().__init__()
        self.rotation = nn.Linear(DIM, DIM, bias=False)
        nn.init.eye_(self.rotation.weight)
        self.loss = filled()

    def forward(self, embeddings: Tensor, ids: Tensor) -> Tensor:
        return self.loss(self.rotation(embeddings), ids)


def learn_on_a_rank(rank: int, meeting: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{meeting}", timedelta(seconds=60), world_size=2, rank=rank
    )
    comm.create_local_process_group(2)
    (rows,) = gather_rows(torch.full((3 * rank, 2), rank))  # nobody on rank 0
    assert torch.equal(rows, torch.ones(3, 2, dtype=torch.int64))
    assert gather_rows(torch.zeros(0, 2), torch.zeros(0))[0].shape == (0, 2)
    # detectron2 does not broadcast buffers; others do, and then the tables have to be right too.
    models = [DistributedDataParallel(Model(), broadcast_buffers=b) for b in (False, True)]
    for k, ids in enumerate(BATCHES):
        half = slice(0, len(ids) // 2) if len(ids) != 3 else slice(0, 0)
        mine = half if rank == 0 else slice(half.stop, None)
        for model in models:
            model(unit(len(ids), k)[mine], torch.tensor(ids)[mine]).backward()
    grads = [model.module.rotation.weight.grad for model in models]
    torch.save([state(m.module.loss) for m in models] + grads, folder / f"rank{rank}.pth")
    dist.barrier()  # a rank that leaves early can take the other one with it
    dist.destroy_process_group()


def test_two_processes_learn_the_same_table_as_one(tmp_path):
    torch.multiprocessing.spawn(learn_on_a_rank, (tmp_path / "meeting", tmp_path), nprocs=2)
    model = Model()
    for k, ids in enumerate(BATCHES):
        model(unit(len(ids), k), torch.tensor(ids))
    expected = state(model.loss)
    results = [torch.load(tmp_path / f"rank{rank}.pth") for rank in (0, 1)]
    for *states, grad, grad_of_broadcast in results:
        for found in states:
            assert_same(found, expected, rtol=0, atol=0)
        assert grad.abs().sum() > 0 and torch.equal(grad, grad_of_broadcast)
    assert torch.equal(results[0][2], results[1][2])


# Persons without identity as individuals -------------------------------------------------------


def test_an_individual_is_classified_against_table_queue_and_itself():
    """By hand: similarities (0, 1) with table and queue and .8 with its own other view, scale 2."""
    oim = OIMLoss(num_ids=1, queue_size=1, dim=2, scale=2.0).eval()
    oim.table.copy_(torch.tensor([[1.0, 0.0]]))
    oim.queue.copy_(torch.tensor([[0.0, 1.0]]))
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ids = torch.tensor([UNLABELED, 0, BACKGROUND, UNLABELED])
    positives = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0.0, 0.0]])
    individual = math.log(1 + math.exp(2) + math.exp(1.6)) - 1.6
    labeled = math.log(math.exp(2) + 1) - 2  # its positive is not read
    # The background and the last one, whom the other view does not show, are left out.
    assert oim(x, ids, positives).item() == pytest.approx((individual + labeled) / 2, rel=1e-5)
    assert oim(x, ids).item() == pytest.approx(labeled, rel=1e-5)


def test_individuals_enter_the_queue_after_the_loss_like_all_without_identity():
    oim = OIMLoss(num_ids=1, queue_size=3, dim=2, scale=1.0).train()
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    positives = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    oim(x, torch.tensor([UNLABELED, UNLABELED]), positives).backward()
    assert oim.queue.tolist() == [[0, 1], [1, 0], [0, 0]] and oim.position == 2
    assert x.grad[0].any() and not x.grad[1].any()


@pytest.mark.parametrize("ids", [[], [BACKGROUND], [UNLABELED]])
def test_no_individual_with_another_view_gives_0(ids):
    oim = OIMLoss(num_ids=2, queue_size=1, dim=3)
    x = torch.randn(len(ids), 3, requires_grad=True)
    loss = oim(x, torch.tensor(ids, dtype=torch.int64), torch.zeros(len(ids), 3))
    loss.backward()
    assert loss.item() == 0 and not x.grad.any()
