"""ShuffleNet V1 and V2 as split architectures.

ShuffleNet's stages 2, 3 and 4 have strides 8, 16 and 32 and are res3, res4 and res5 here. At stride
4 there is only what the stem puts out: res2 is a stage without units.

Shape shorthand in this module:
    N: number of images or RoIs; C_in, C_out: channels; H, W: height and width
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.layers import Conv2d, FrozenBatchNorm2d, get_norm
from torch import Tensor, nn
from torchvision.models.shufflenetv2 import InvertedResidual

from person_search.errors import ConfigError

from .split import SPLIT_ARCHITECTURE_REGISTRY, STAGES, SplitArchitecture

UNITS_PER_STAGE = (0, 4, 8, 4)

CONVERT_NORM = {
    "BN": lambda module: module,
    "FrozenBN": FrozenBatchNorm2d.convert_frozen_batchnorm,
}


class SplitShuffleNet(SplitArchitecture):
    """What the two versions share.

    Args:
        width: factor of the channels, a key of ``WIDTHS``.
        norm: detectron2's name of the norm, a key of :data:`CONVERT_NORM`.
    """

    # Factor -> channels of the stem and of the units of res3, res4 and res5.
    WIDTHS: dict[float, tuple[int, ...]]

    public_names = {  # of deep-person-reid (V1) and torchvision (V2)
        "conv1.0": "stem.0",
        "conv1.1": "stem.1",
        "stage2": "res3",
        "stage3": "res4",
        "stage4": "res5",
        "conv5": "res5.4",
    }

    def __init__(self, width: float = 1.0, norm: str = "BN"):
        if width not in self.WIDTHS:
            raise ConfigError(f"MODEL.SHUFFLENET.WIDTH is {width}; legal: {list(self.WIDTHS)}")
        if norm not in CONVERT_NORM:
            raise ConfigError(
                f"MODEL.RESNETS.NORM is {norm!r}; legal for a ShuffleNet: {', '.join(CONVERT_NORM)}"
            )
        self.widths, self.norm = self.WIDTHS[width], norm

    @classmethod
    def from_config(cls, cfg) -> "SplitShuffleNet":
        return cls(width=cfg.MODEL.SHUFFLENET.WIDTH, norm=cfg.MODEL.RESNETS.NORM)

    def channels(self, stage: str) -> int:
        return self.widths[STAGES.index(stage)]

    def make_stem(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, self.widths[0], kernel_size=3, stride=2, padding=1, bias=False),
            get_norm(self.norm, self.widths[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )

    def make_blocks(self, stage: str, stride: int) -> list[nn.Module]:
        index = STAGES.index(stage)
        c_in, c_out = self.widths[index - 1], self.widths[index]
        return [
            self.make_unit(c_out if k else c_in, c_out, 1 if k else stride)
            for k in range(UNITS_PER_STAGE[index])
        ]

    @abstractmethod
    def make_unit(self, c_in: int, c_out: int, stride: int) -> nn.Module:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride)."""


class ShuffleUnit(nn.Module):
    """Unit of V1 (Zhang et al., CVPR 2018, fig. 2): bottleneck of grouped 1x1 convs and a shuffle.

    Where the channels grow, the pooled input is concatenated; elsewhere the input is added.

    Args:
        c_in, c_out: C_in and C_out.
        stride: of the depthwise conv and the pooling.
        groups: of the shuffle and the second 1x1 conv.
        first_groups: of the first 1x1 conv.
        norm: detectron2 norm name.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, groups: int, first_groups: int, norm: str
    ):
        super().__init__()
        self.groups, self.grows, middle = groups, c_in != c_out, c_out // 4
        if self.grows:
            self.pool = nn.AvgPool2d(kernel_size=3, stride=stride, padding=1)
            c_out -= c_in

        def conv(c_in: int, c_out: int, **kwargs) -> Conv2d:
            return Conv2d(c_in, c_out, bias=False, norm=get_norm(norm, c_out), **kwargs)

        self.conv1 = conv(c_in, middle, kernel_size=1, groups=first_groups, activation=F.relu)
        self.conv2 = conv(middle, middle, kernel_size=3, stride=stride, padding=1, groups=middle)
        self.conv3 = conv(middle, c_out, kernel_size=1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H/stride, W/stride)."""
        y = self.conv3(self.conv2(F.channel_shuffle(self.conv1(x), self.groups)))
        return F.relu(torch.cat([self.pool(x), y], dim=1) if self.grows else x + y)


@SPLIT_ARCHITECTURE_REGISTRY.register()
class SplitShuffleNetV1(SplitShuffleNet):
    """ShuffleNet with 3 groups (Zhang et al., CVPR 2018, table 1), "s x" wide."""

    GROUPS = 3
    WIDTHS = {
        0.5: (12, 120, 240, 480),
        1.0: (24, 240, 480, 960),
        1.5: (24, 360, 720, 1440),
        2.0: (48, 480, 960, 1920),
    }

    def make_unit(self, c_in: int, c_out: int, stride: int) -> ShuffleUnit:
        # The first 1x1 conv on the few channels of the stem is not grouped (section 3.2).
        first_groups = 1 if c_in == self.widths[0] else self.GROUPS
        return ShuffleUnit(c_in, c_out, stride, self.GROUPS, first_groups, self.norm)


@SPLIT_ARCHITECTURE_REGISTRY.register()
class SplitShuffleNetV2(SplitShuffleNet):
    """ShuffleNet V2 (Ma et al., ECCV 2018, table 5), made of torchvision's units.

    The 1x1 conv behind the last stage ("conv5") is the last block of res5.
    """

    WIDTHS = {
        0.5: (24, 48, 96, 192),
        1.0: (24, 116, 232, 464),
        1.5: (24, 176, 352, 704),
        2.0: (24, 244, 488, 976),
    }

    def __init__(self, width: float = 1.0, norm: str = "BN"):
        super().__init__(width, norm)
        self.conv5 = 2048 if width == 2.0 else 1024

    def channels(self, stage: str) -> int:
        return self.conv5 if stage == "res5" else super().channels(stage)

    def make_blocks(self, stage: str, stride: int) -> list[nn.Module]:
        blocks = super().make_blocks(stage, stride)
        if stage == "res5":
            conv = nn.Conv2d(self.widths[-1], self.conv5, kernel_size=1, bias=False)
            norm = get_norm(self.norm, self.conv5)
            blocks.append(nn.Sequential(conv, norm, nn.ReLU(inplace=True)))
        return blocks

    def make_unit(self, c_in: int, c_out: int, stride: int) -> nn.Module:
        grows = c_in != c_out
        # torchvision's unit lets its channels grow only at stride 2, so that is set afterwards.
        unit = InvertedResidual(c_in, c_out, stride=2 if grows else 1)
        for module in unit.modules():
            if grows and isinstance(module, nn.Conv2d) and module.groups > 1:
                module.stride = (stride, stride)
        return CONVERT_NORM[self.norm](unit)


def add_shufflenet_config(cfg: CN) -> None:
    """Keys of both ShuffleNets."""
    cfg.MODEL.SHUFFLENET = CN()
    # Factor of the channels: .5 | 1 | 1.5 | 2
    cfg.MODEL.SHUFFLENET.WIDTH = 1.0
