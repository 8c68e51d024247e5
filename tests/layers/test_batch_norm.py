"""Batch norms whose running statistics rest."""

import pytest
import torch
from torch import nn

from person_search.layers.batch_norm import FrozenRunningStats, RowBatchNorm


def norms() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), RowBatchNorm(12), nn.BatchNorm1d(12))


def test_they_normalize_by_the_batch_and_remember_nothing():
    module, plain = norms().train(), norms().train()
    x = torch.randn(4, 3, 2, 2) * 5 + 2
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with FrozenRunningStats(module):
        y = module(x)
    torch.testing.assert_close(y, plain(x))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_afterwards_they_remember_as_before_also_after_an_error():
    module, plain = norms().train(), norms().train()
    with pytest.raises(RuntimeError), FrozenRunningStats(module):
        module(torch.zeros(1, 5, 2, 2))
    x = torch.randn(4, 3, 2, 2)
    module(x), plain(x)
    for key, value in plain.state_dict().items():
        assert torch.equal(module.state_dict()[key], value), key
    assert module[0].num_batches_tracked == 1
