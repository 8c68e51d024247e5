"""OIMHead and NormAwareHead: what the embedding is made of, and batches of any kind."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.labels import BACKGROUND, UNLABELED
from person_search.layers.batch_norm import RowBatchNorm
from person_search.layers.pooling import GlobalPool
from person_search.modeling.identity.base import build_identity_head
from person_search.modeling.identity.oim import NormAwareHead, OIMHead

CHANNELS = {"res4": 6, "res5": 10}


def maps(number: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"res4": (6, 4, 4), "res5": (10, 2, 2)}
    return {k: torch.randn(number, *size, generator=generator) for k, size in sizes.items()}


@pytest.fixture(params=[OIMHead, NormAwareHead])
def head(request) -> nn.Module:
    torch.manual_seed(0)
    return request.param(
        in_channels=CHANNELS, num_ids=5, embedding_dim=8, queue_size=3, scale=10.0, loss_weight=0.5
    ).train()


# Layers --------------------------------------------------------------------------------------


def test_global_pooling():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -2.0], [-3.0, -6.0]]]])
    assert GlobalPool("avg")(x).tolist() == [[3.0, -3.0]]
    assert GlobalPool("max")(x).tolist() == [[6.0, -1.0]]
    assert GlobalPool("max")(x[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match="kind is 'sum'; legal: avg, max"):
        GlobalPool("sum")


@pytest.mark.parametrize("rows", [0, 1])
def test_batch_norm_of_one_row_or_none_uses_the_running_statistics(rows):
    norm, plain = RowBatchNorm(4), nn.BatchNorm1d(4)
    for each in (norm, plain):
        each.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        each.running_var.fill_(4.0)
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    x = torch.randn(rows, 4)
    torch.testing.assert_close(norm.train()(x), plain.eval()(x))
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())
    x = torch.randn(5, 4)
    torch.testing.assert_close(norm(x), plain.train()(x))


# Embeddings ----------------------------------------------------------------------------------


def test_oim_projects_the_pooled_last_map():
    head = OIMHead(in_channels=CHANNELS, num_ids=5, embedding_dim=8, pooling="avg")
    x = maps(3)
    (linear,) = head.projectors
    torch.testing.assert_close(head(x), linear(x["res5"].mean(dim=(2, 3))))
    assert head(x).shape == (3, 8) and not linear.bias.any()


def test_the_norm_aware_embedding_joins_two_stages():
    """NAE: max pooling, linear layer and batch norm of each, half of the embedding from each."""
    torch.manual_seed(0)
    head = NormAwareHead(in_channels=CHANNELS, num_ids=5, embedding_dim=8, pooling="max").train()
    x = maps(5)
    halves = []
    for stage, (linear, norm) in zip(("res4", "res5"), head.projectors, strict=True):
        assert linear.weight.shape == (4, CHANNELS[stage])
        y = x[stage].flatten(2).max(dim=2).values @ linear.weight.T
        y = (y - y.mean(dim=0)) / (y.var(dim=0, unbiased=False) + 1e-5).sqrt()
        halves.append(y * norm.weight)
    torch.testing.assert_close(head(x), torch.cat(halves, dim=1))


def test_the_norm_aware_head_starts_small():
    torch.manual_seed(0)
    channels = {"res4": 1024, "res5": 2048}
    for linear, norm in NormAwareHead(in_channels=channels, num_ids=5).projectors:
        assert linear.out_features == 128
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert norm.weight.std().item() == pytest.approx(0.01, rel=0.3)
        assert abs(norm.weight.mean().item()) < 0.003
        assert not linear.bias.any() and not norm.bias.any()


# Losses --------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_directions(head):
    x, ids = maps(4), torch.tensor([0, UNLABELED, 3, BACKGROUND])
    embeddings = head(x)
    directions = embeddings / embeddings.norm(dim=1, keepdim=True)
    logits = 10 * directions[[0, 2]] @ torch.cat([head.oim.table, head.oim.queue]).clone().T
    expected = 0.5 * F.cross_entropy(logits, torch.tensor([0, 3]))
    losses = head.losses(x, embeddings, ids)
    assert losses.keys() == {"loss_oim"}
    torch.testing.assert_close(losses["loss_oim"], expected)
    torch.testing.assert_close(head.oim.table[[0, 3]], directions[[0, 2]].detach())
    torch.testing.assert_close(head.oim.queue[0], directions[1].detach())


@pytest.mark.parametrize(
    "ids", [[], [2], [UNLABELED], [BACKGROUND], [UNLABELED, BACKGROUND, UNLABELED]]
)
def test_any_batch_has_a_finite_loss_that_touches_every_parameter(head, ids, event_storage):
    x = maps(len(ids))
    loss = head.losses(x, head(x), torch.tensor(ids, dtype=torch.int64))["loss_oim"]
    loss.backward()
    assert loss.isfinite() and (loss > 0) == (ids == [2])
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert event_storage.latest()["reid/num_labeled"][0] == (ids == [2])


def test_what_a_model_at_test_can_do_without(head):
    memory = [k for k in head.state_dict() if k.startswith(head.memory)]
    assert memory == ["oim.table", "oim.queue", "oim.position"]
    assert head.training_only == head.memory and head.uses_unlabeled


# Config --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["OIMHead", "NormAwareHead"])
def test_every_key_of_the_config_arrives(tiny_cfg, name):
    cfg = tiny_cfg(
        *("MODEL.REID.HEAD", name, "MODEL.REID.EMBEDDING_DIM", 12),
        *("MODEL.REID.GLOBAL_POOLING", "max", "MODEL.REID.LOSS_WEIGHT", 0.25),
        *("MODEL.REID.OIM.QUEUE_SIZE", 7, "MODEL.REID.OIM.MOMENTUM", 0.75),
        *("MODEL.REID.OIM.SCALE", 15.0),
        num_ids=9,
    )
    head = build_identity_head(cfg, CHANNELS)
    assert type(head).__name__ == name
    assert head.oim.table.shape == (9, 12) and head.oim.queue.shape == (7, 12)
    assert (head.oim.momentum, head.oim.scale, head.loss_weight) == (0.75, 15.0, 0.25)
    assert head.pool.kind == "max" and head.embedding_dim == 12


def test_a_stage_that_is_not_there_is_an_error():
    with pytest.raises(ConfigError, match=r"NormAwareHead reads \['res4'\].* there are res5"):
        NormAwareHead(in_channels={"res5": 8}, num_ids=5)


def test_an_odd_embedding_has_no_halves():
    with pytest.raises(ConfigError, match="EMBEDDING_DIM 7 .* 2 equal parts"):
        NormAwareHead(in_channels=CHANNELS, num_ids=5, embedding_dim=7)
