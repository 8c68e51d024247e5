"""The layer of norm-aware embeddings (NAE, Chen et al., CVPR 2020)."""

from torch import nn

from .batch_norm import RowBatchNorm


def norm_aware_linear(in_channels: int, dim: int) -> nn.Sequential:
    """(R, in_channels) -> (R, dim): linear layer and batch norm, both starting small.

    The authors draw the weights of both from N(0, 0.01), so that embeddings start near 0.
    """
    layers = nn.Sequential(nn.Linear(in_channels, dim), RowBatchNorm(dim))
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    return layers
