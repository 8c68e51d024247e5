"""Aligned feature aggregation: the neck of AlignPS (Yan et al., CVPR 2021, section 3.3).

Shape shorthand in this module:
    N: number of images; C: channels of every level; H, W: size of a map
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from person_search.layers.deformable import DeformableConv


class AlignedFeatureAggregation(nn.Module):
    """A feature pyramid of deformable 3x3 convolutions, whose levels are concatenated, not added.

    The laterals are deformable, too, in place of the usual 1x1 convolutions. P3 is made of the
    laterals of all maps (3 C channels), P5 of its own alone. P6 and P7 come from P5, as in FCOS.

    Args:
        in_channels: of the maps of strides 8, 16 and 32.
        channels: C.
    """

    def __init__(self, in_channels: list[int], channels: int = 256):
        super().__init__()
        self.channels = channels
        number = len(in_channels)
        self.laterals = nn.ModuleList(DeformableConv(c, channels) for c in in_channels)
        self.outputs = nn.ModuleList(
            DeformableConv(channels * (number - level), channels) for level in range(number)
        )
        self.coarser = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(2)
        )
        for layer in (*self.laterals, *self.outputs):
            nn.init.xavier_uniform_(layer.conv.weight)
        for layer in self.coarser:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of strides 8, 16 and 32, to P3 (N, C, H, W); in training also P4, P5, P6, P7.

        A map may have any size: the next coarser one is brought to it.
        """
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for level in range(len(merged) - 1, 0, -1):
            size = merged[level - 1].shape[-2:]
            above = F.interpolate(merged[level], size=size, mode="nearest")
            merged[level - 1] = torch.cat([merged[level - 1], above], dim=1)
        if not self.training:
            return [self.outputs[0](merged[0])]
        levels = [output(x) for output, x in zip(self.outputs, merged, strict=True)]
        to_p6, to_p7 = self.coarser
        p6 = to_p6(levels[-1])
        return [*levels, p6, to_p7(F.relu(p6))]
