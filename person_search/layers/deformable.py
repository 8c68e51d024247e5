"""3x3 deformable convolutions that know their own offsets.

Shape shorthand in this module:
    N: number of images; C_in, C: channels; H, W: size of a map
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import DeformConv2d


class DeformableConv(nn.Module):
    """A 3x3 convolution that samples where a second convolution says (Dai et al., ICCV 2017).

    Begins as a plain convolution: all offsets are 0, and the modulation, where there is one, is one
    half everywhere, as in Zhu et al., CVPR 2019. Computes in float32, also under autocast.

    torchvision's operator does it. On a CPU, where its backward takes four times as long, the same
    samples come from ``grid_sample``.

    Args:
        in_channels: C_in.
        channels: C.
        modulated: weigh each sample, too ("v2"), and add a bias.
    """

    def __init__(self, in_channels: int, channels: int, modulated: bool = False):
        super().__init__()
        self.modulated = modulated
        # Of each of the nine samples two coordinates, and a weight.
        self.offsets = nn.Conv2d(in_channels, 27 if modulated else 18, 3, padding=1)
        self.conv = DeformConv2d(in_channels, channels, 3, padding=1, bias=modulated)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            offsets = self.offsets(x)
            weights = offsets[:, 18:].sigmoid() if self.modulated else None
            offsets = offsets[:, :18].contiguous()
            if x.device.type == "cpu":
                return sampled_conv(x, offsets, self.conv.weight, self.conv.bias, weights)
            return self.conv(x, offsets, weights)


def sampled_conv(
    x: Tensor, offsets: Tensor, kernel: Tensor, bias: Tensor | None, weights: Tensor | None
) -> Tensor:
    """What ``torchvision.ops.deform_conv2d`` computes, 3x3 with padding 1, by ``grid_sample``.

    Args:
        x: (N, C_in, H, W).
        offsets: (N, 18, H, W), y and x of each sample in turn, in cells.
        kernel: (C, C_in, 3, 3).
        bias: (C,), if there is one.
        weights: (N, 9, H, W) of the samples, if they are weighted.
    """
    n, channels, height, width = x.shape
    step = torch.arange(3, device=x.device) - 1
    rows = torch.arange(height, device=x.device)[:, None]
    columns = torch.arange(width, device=x.device)
    offsets = offsets.view(n, 9, 2, height, width)
    y = offsets[:, :, 0] + rows + step.repeat_interleave(3)[:, None, None]
    x_of = offsets[:, :, 1] + columns + step.repeat(3)[:, None, None]
    # grid_sample counts from -1 to 1, from border to border of the map: cell k of 4 is at
    # (2 k + 1) / 4 - 1, the first one at -.75.
    grid = torch.stack([(2 * x_of + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    samples = F.grid_sample(x, grid.view(n, 9 * height, width, 2), align_corners=False)
    samples = samples.view(n, channels, 9, height * width)
    if weights is not None:
        samples = samples * weights.view(n, 1, 9, height * width)
    out = kernel.flatten(1) @ samples.flatten(1, 2)
    if bias is not None:
        out = out + bias[:, None]
    return out.view(n, -1, height, width)
