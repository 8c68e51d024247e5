"""ConvNeXt as a split architecture, made of torchvision's blocks."""

import torch
from detectron2.config import CfgNode as CN
from torch import nn
from torchvision.models.convnext import CNBlock, LayerNorm2d

from person_search.errors import ConfigError

from .split import SPLIT_ARCHITECTURE_REGISTRY, STAGES, SplitArchitecture

LAYER_SCALE = 1e-6


@SPLIT_ARCHITECTURE_REGISTRY.register()
class SplitConvNeXt(SplitArchitecture):
    """ConvNeXt (Liu et al., CVPR 2022). Sides that its strides do not divide lose the rest.

    res3, res4 and res5 begin with the 2x2 conv that halves the resolution. At stride 1 that conv
    looks at every position: at the even ones it gives what it gives at stride 2.

    Args:
        depths: number of blocks of res2..res5.
        res2_channels: width of stem and res2; it doubles from stage to stage.
        stochastic_depth: probability that the last block is left out; it grows linearly from 0.
    """

    public_names = {  # of torchvision
        "features.0": "stem",
        "features.1": "res2.0",
        "features.2": "res3.0",
        "features.3": "res3.1",
        "features.4": "res4.0",
        "features.5": "res4.1",
        "features.6": "res5.0",
        "features.7": "res5.1",
    }

    def __init__(
        self,
        depths: tuple[int, int, int, int] = (3, 3, 9, 3),
        res2_channels: int = 96,
        stochastic_depth: float = 0.1,
    ):
        if len(depths) != len(STAGES) or min(depths) < 1:
            raise ConfigError(f"MODEL.CONVNEXT.DEPTHS is {depths}; legal: four numbers of blocks")
        self.depths, self.res2_channels = depths, res2_channels
        self.drop_rates = torch.linspace(0, stochastic_depth, sum(depths), device="cpu").tolist()

    @classmethod
    def from_config(cls, cfg) -> "SplitConvNeXt":
        return cls(
            depths=cfg.MODEL.CONVNEXT.DEPTHS,
            res2_channels=cfg.MODEL.CONVNEXT.RES2_OUT_CHANNELS,
        )

    def channels(self, stage: str) -> int:
        return self.res2_channels * 2 ** STAGES.index(stage)

    def make_stem(self) -> nn.Sequential:
        conv = nn.Conv2d(3, self.res2_channels, kernel_size=4, stride=4)
        return _initialized(nn.Sequential(conv, LayerNorm2d(self.res2_channels, eps=1e-6)))

    def make_blocks(self, stage: str, stride: int) -> list[nn.Module]:
        index, channels = STAGES.index(stage), self.channels(stage)
        first = sum(self.depths[:index])
        rates = self.drop_rates[first : first + self.depths[index]]
        parts = [nn.Sequential(*(CNBlock(channels, LAYER_SCALE, rate) for rate in rates))]
        if stage != "res2":
            down = nn.Sequential(LayerNorm2d(channels // 2, eps=1e-6))
            if stride == 1:  # keep the size, by a row and a column of zeros at the far ends
                down.add_module("pad", nn.ZeroPad2d((0, 1, 0, 1)))
            down.add_module("1", nn.Conv2d(channels // 2, channels, kernel_size=2, stride=stride))
            parts.insert(0, down)
        return [_initialized(part) for part in parts]


def _initialized(module: nn.Module) -> nn.Module:
    """As torchvision starts a ConvNeXt."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return module


def add_convnext_config(cfg: CN) -> None:
    """Keys of SplitConvNeXt."""
    cfg.MODEL.CONVNEXT = CN()
    # Blocks of res2..res5 and channels of res2. Tiny: (3, 3, 9, 3), 96; small: (3, 3, 27, 3), 96;
    # base: (3, 3, 27, 3), 128.
    cfg.MODEL.CONVNEXT.DEPTHS = (3, 3, 9, 3)
    cfg.MODEL.CONVNEXT.RES2_OUT_CHANNELS = 96
