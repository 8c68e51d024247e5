"""Activation checkpointing: a second forward, and not one number that differs."""

import copy

import pytest
import torch
from torch import nn

from person_search.layers.checkpointed import CheckpointedSequential
from person_search.layers.ibn import IBN


def blocks(norm: type[nn.Module] = nn.BatchNorm2d) -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        nn.Conv2d(3, 8, 3, bias=False),
        norm(8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3, stride=2),
        IBN(8, "BN"),
    ]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def step(module: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output, gradients and buffers of one training step."""
    torch.manual_seed(2)  # of dropout
    x = x.clone().requires_grad_()
    y = module(x)
    y.square().sum().backward()
    gradients = {f"grad of {name}": p.grad.clone() for name, p in module.named_parameters()}
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    return {"output": y.detach(), "grad of x": x.grad} | gradients | buffers


def cumulative(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=None)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, cumulative])
def test_a_step_is_the_same_bit_for_bit(images, norm):
    plain = nn.Sequential(*blocks(norm))
    checkpointed = CheckpointedSequential(*copy.deepcopy(list(plain)))
    for _ in range(2):
        expected, found = step(plain, images), step(checkpointed, images)
        assert found.keys() == expected.keys() and "1.running_var" in found
        for name, value in expected.items():
            assert torch.equal(found[name], value), name
    assert checkpointed[1].num_batches_tracked == 2
    assert checkpointed[1].momentum == plain[1].momentum


def test_only_the_input_is_kept_and_the_rest_runs_twice(images):
    def kept_and_forwards(module: nn.Sequential) -> tuple[int, int]:
        """Bytes that outlive the forward, and how often the first block ran in the end."""
        kept, runs = [], []
        module[0].register_forward_hook(lambda *_: runs.append(1))

        def keep(tensor):
            kept.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = module(images).sum()
        y.backward()
        return sum(kept), len(runs)

    plain, twice = nn.Sequential(*blocks()), CheckpointedSequential(*blocks())
    kept, runs = kept_and_forwards(plain)
    assert kept > 4 * images.nbytes and runs == 1
    kept, runs = kept_and_forwards(twice)
    assert kept <= images.nbytes and runs == 2


def test_without_gradients_nothing_runs_twice(images):
    module = CheckpointedSequential(*blocks()).eval()
    runs = []
    module[0].register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        assert torch.equal(module(images), nn.Sequential(*module)(images))
    assert len(runs) == 2  # one of each


def test_a_graph_can_be_walked_twice(images):
    module = CheckpointedSequential(*blocks())
    loss = module(images).square().sum()
    before = module[1].running_mean.clone()
    first = torch.autograd.grad(loss, module[0].weight, retain_graph=True)
    again = torch.autograd.grad(loss, module[0].weight)
    assert torch.equal(first[0], again[0])
    assert torch.equal(module[1].running_mean, before)
    assert module[1].num_batches_tracked == 1 and module[1].momentum == 0.1


def test_a_stage_without_blocks_and_a_batch_of_nobody(images):
    assert torch.equal(CheckpointedSequential()(images), images)
    y = CheckpointedSequential(nn.Conv2d(3, 4, 3), nn.ReLU())(images[:0].requires_grad_())
    y.sum().backward()
    assert y.shape == (0, 4, 10, 10)
