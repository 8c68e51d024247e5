"""ResNet and ResNet-IBN-a as a split architecture, made of detectron2's blocks."""

import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.modeling.backbone.resnet import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    ResNet,
)
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.ibn import IBN

from .split import SPLIT_ARCHITECTURE_REGISTRY, STAGES, SplitArchitecture

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class CeilStem(BasicStem):
    """detectron2's stem, whose pooling is not padded and rounds sizes up: fast-reid's.

    The windows of the pooling lie one pixel further right and below.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C, H/4, W/4)."""
        x = F.relu_(self.conv1(x))
        return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)


@SPLIT_ARCHITECTURE_REGISTRY.register()
class SplitResNet(SplitArchitecture):
    """ResNet-18, -34, -50 or -101, optionally with IBN-a.

    IBN-a replaces the norm behind the first conv of every block of res2, res3 and res4; stem and
    res5 keep the plain norm.

    Args:
        depth: 18, 34, 50 or 101.
        ibn: "a" or "".
        norm: detectron2 norm name.
        stem_channels, res2_channels: width of the stem and of res2's output; channels double from
            stage to stage. The usual 64 and 64 (depth < 50) or 256.
        stride_in_1x1: where the stride of a bottleneck sits: on its first conv, as in MSRA's
            weights, or on the 3x3 one, as in those of torchvision and IBN-Net.
        stem_pooling: "padded" or "ceil", see :class:`CeilStem`.
    """

    public_names = {  # of torchvision and IBN-Net
        "conv1": "stem.conv1",
        "bn1": "stem.conv1.norm",
        "layer1": "res2",
        "layer2": "res3",
        "layer3": "res4",
        "layer4": "res5",
    }

    def __init__(
        self,
        depth: int,
        ibn: str = "",
        norm: str = "BN",
        stem_channels: int = 64,
        res2_channels: int = 256,
        stride_in_1x1: bool = False,
        stem_pooling: str = "padded",
    ):
        if depth not in BLOCKS_PER_STAGE:
            raise ConfigError(f"MODEL.RESNETS.DEPTH is {depth}; legal: {list(BLOCKS_PER_STAGE)}")
        if ibn not in ("", "a"):
            raise ConfigError(f'MODEL.RESNETS.IBN is {ibn!r}; legal: "a", ""')
        if stem_pooling not in ("padded", "ceil"):
            raise ConfigError(
                f"MODEL.RESNETS.STEM_POOLING is {stem_pooling!r}; legal: padded, ceil"
            )
        self.depth, self.ibn, self.norm = depth, ibn, norm
        self.stride_in_1x1, self.stem_pooling = stride_in_1x1, stem_pooling
        self.stem_channels, self.res2_channels = stem_channels, res2_channels

    @classmethod
    def from_config(cls, cfg) -> "SplitResNet":
        return cls(
            depth=cfg.MODEL.RESNETS.DEPTH,
            ibn=cfg.MODEL.RESNETS.IBN,
            norm=cfg.MODEL.RESNETS.NORM,
            stem_channels=cfg.MODEL.RESNETS.STEM_OUT_CHANNELS,
            res2_channels=cfg.MODEL.RESNETS.RES2_OUT_CHANNELS,
            stride_in_1x1=cfg.MODEL.RESNETS.STRIDE_IN_1X1,
            stem_pooling=cfg.MODEL.RESNETS.STEM_POOLING,
        )

    def channels(self, stage: str) -> int:
        return self.res2_channels * 2 ** STAGES.index(stage)

    def make_stem(self) -> BasicStem:
        stem = CeilStem if self.stem_pooling == "ceil" else BasicStem
        return stem(out_channels=self.stem_channels, norm=self.norm)

    def make_blocks(self, stage: str, stride: int) -> list[nn.Module]:
        index = STAGES.index(stage)
        num_blocks = BLOCKS_PER_STAGE[self.depth][index]
        out_channels = self.channels(stage)
        kwargs = {"block_class": BasicBlock}
        if self.depth >= 50:
            kwargs = {
                "block_class": BottleneckBlock,
                "bottleneck_channels": out_channels // 4,
                "stride_in_1x1": self.stride_in_1x1,
            }
        blocks = ResNet.make_stage(
            num_blocks=num_blocks,
            stride_per_block=[stride] + [1] * (num_blocks - 1),
            in_channels=self.stem_channels if index == 0 else out_channels // 2,
            out_channels=out_channels,
            norm=self.norm,
            **kwargs,
        )
        if self.ibn == "a" and stage != "res5":
            for block in blocks:
                block.conv1.norm = IBN(block.conv1.out_channels, self.norm)
        return blocks


def add_resnet_config(cfg: CN) -> None:
    """Keys of SplitResNet beside detectron2's ``MODEL.RESNETS``.

    Of these, ``STRIDE_IN_1X1`` is False in torchvision's weights, and True in those that started
    from MSRA's.
    """
    # Instance-batch normalization (Pan et al., ECCV 2018). "a": half of the channels after the
    # first conv of every block of res2..res4 | "": plain normalization everywhere
    cfg.MODEL.RESNETS.IBN = ""
    # Pooling of the stem. "padded": with 1 on all sides, as in torchvision | "ceil": not padded,
    # sizes rounded up, as in fast-reid
    cfg.MODEL.RESNETS.STEM_POOLING = "padded"
