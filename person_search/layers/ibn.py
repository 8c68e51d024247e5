"""Instance-batch normalization, variant a (Pan et al., ECCV 2018, "Two at Once")."""

import torch
from detectron2.layers import get_norm
from torch import nn


class IBN(nn.Module):
    """Instance norm on the first half of the channels, batch norm on the rest.

    At test time the instance half uses the statistics of the map it sees, so zero padding of a
    scene changes its result: batch images of one size only.

    Args:
        num_channels: number of channels C; the first ``C // 2`` are instance normalized.
        norm: detectron2 name of the batch norm of the other half ("BN", "FrozenBN", ...).
    """

    def __init__(self, num_channels: int, norm: str = "BN"):
        super().__init__()
        self.half = num_channels // 2
        # Names as in the public weight files of IBN-Net.
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = get_norm(norm, num_channels - self.half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize (N, C, H, W) maps; N may be 0, as where nobody was detected."""
        if len(x) == 0:  # torch's instance norm has no answer for that
            return x
        instance, batch = x.split([self.half, x.shape[1] - self.half], dim=1)
        return torch.cat([self.IN(instance), self.BN(batch)], dim=1)
