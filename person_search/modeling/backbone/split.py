"""A backbone cut in two: a shared base, and a tail that each box is put through.

Every model of this project names one split point (``MODEL.BACKBONE.SPLIT_AT``). The base (stem and
stages up to it) sees whole scenes and is a plain detectron2 backbone; the tail (the stages behind
it) sees RoI features. Both come from one :class:`SplitArchitecture`.

Shape shorthand in this module:
    N: number of images; H, W: their size; C: channels of a map
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from detectron2.config import CfgNode as CN
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.checkpointed import CheckpointedSequential
from person_search.registry import look_up

SPLIT_ARCHITECTURE_REGISTRY = Registry("SPLIT_ARCHITECTURE")
SPLIT_ARCHITECTURE_REGISTRY.__doc__ = """
Architectures that can be cut at a stage: subclasses of :class:`SplitArchitecture` that have a
classmethod ``from_config(cfg)``.
"""

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
# Stage names of every architecture; detectron2's names.
STAGES = tuple(STRIDES)


class SplitBase(Backbone):
    """Stem and stages up to the split point. Its children carry the stage names.

    Args:
        stem: (N, 3, H, W) -> (N, C, H/4, W/4).
        stages: stage name -> module, the first ones of :data:`STAGES`.
        channels: stage name -> C of its map.
        out_features: the stages whose maps are put out.
        freeze_at: how many parts neither learn nor collect statistics: 1: the stem, 2: also res2
            and so on; 0: none.
        size_divisibility: images are padded to a multiple of it; 0: not.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Mapping[str, nn.Module],
        channels: Mapping[str, int],
        out_features: list[str],
        freeze_at: int = 0,
        size_divisibility: int = 0,
    ):
        super().__init__()
        self._size_divisibility = size_divisibility
        self.stem = stem
        self.stage_names = tuple(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        for part in [stem, *stages.values()][:freeze_at]:
            part.requires_grad_(False)
            FrozenBatchNorm2d.convert_frozen_batchnorm(part)
        self._out_features = out_features  # these three are what Backbone.output_shape reads
        self._out_feature_channels, self._out_feature_strides = channels, STRIDES

    @property
    def size_divisibility(self) -> int:
        """See ``Backbone.size_divisibility``."""
        return self._size_divisibility

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) images to the maps (N, C, H/stride, W/stride) of ``out_features``."""
        x, maps = self.stem(x), {}
        for name in self.stage_names:
            maps[name] = x = getattr(self, name)(x)
        return {name: maps[name] for name in self._out_features}


class SplitArchitecture(ABC):
    """Makes the parts of a backbone, each call with weights of its own.

    Attributes:
        public_names: where the parts stand in public weights files: their module -> ours, as
            ``{"layer1": "res2"}`` (see :mod:`.weights`).
        checkpoint_stages: stages that are made with activation checkpointing.
        memory_format: of the weights of convolutions, and so of what they compute.
    """

    public_names: Mapping[str, str] = {}
    checkpoint_stages: tuple[str, ...] = ()
    memory_format: torch.memory_format = torch.contiguous_format

    @abstractmethod
    def channels(self, stage: str) -> int:
        """Output channels of a stage in :data:`STAGES`."""

    @abstractmethod
    def make_stem(self) -> nn.Module:
        """What brings the images to stride 4."""

    @abstractmethod
    def make_blocks(self, stage: str, stride: int) -> list[nn.Module]:
        """The blocks of a stage, with any stride; their parameters are those of the usual one."""

    def make_stage(self, stage: str, stride: int | None = None) -> nn.Sequential:
        """One stage, with its usual stride (None) or another one."""
        if stride is None:
            stride = 1 if stage == "res2" else 2
        checkpointed = stage in self.checkpoint_stages
        kind = CheckpointedSequential if checkpointed else nn.Sequential
        return kind(*self.make_blocks(stage, stride)).to(memory_format=self.memory_format)

    def make_base(
        self,
        last_stage: str,
        out_features: list[str],
        freeze_at: int,
        size_divisibility: int = 0,
    ) -> SplitBase:
        """Stem and stages up to and including ``last_stage``; see :class:`SplitBase`."""
        names = STAGES[: STAGES.index(last_stage) + 1]
        return SplitBase(
            stem=self.make_stem().to(memory_format=self.memory_format),
            stages={name: self.make_stage(name) for name in names},
            channels={name: self.channels(name) for name in names},
            out_features=out_features,
            freeze_at=freeze_at,
            size_divisibility=size_divisibility,
        )

    def make_tail(self, split_at: str, last_stride: int) -> nn.Sequential:
        """The stages behind ``split_at``; the last one has stride ``last_stride``.

        Children carry the stage names, so weights of a whole backbone fit by name.
        """
        tail = nn.Sequential()
        for stage in STAGES[STAGES.index(split_at) + 1 :]:
            tail.add_module(stage, self.make_stage(stage, last_stride if stage == "res5" else None))
        return tail


def build_split_architecture(cfg) -> SplitArchitecture:
    """The architecture that ``MODEL.BACKBONE.ARCHITECTURE`` names."""
    keys = cfg.MODEL.BACKBONE
    registered = look_up(
        SPLIT_ARCHITECTURE_REGISTRY, keys.ARCHITECTURE, "MODEL.BACKBONE.ARCHITECTURE"
    )
    illegal = [stage for stage in keys.CHECKPOINT_STAGES if stage not in STAGES]
    if illegal:
        raise ConfigError(
            f"MODEL.BACKBONE.CHECKPOINT_STAGES has {illegal}; legal: {', '.join(STAGES)}"
        )
    if "sync" in cfg.MODEL.RESNETS.NORM.lower():
        raise ConfigError(
            f"MODEL.RESNETS.NORM is {cfg.MODEL.RESNETS.NORM!r}, but a process that sees nobody "
            "does not run the embedder, for which the others would wait: take BN"
        )
    architecture = registered.from_config(cfg)
    architecture.checkpoint_stages = tuple(keys.CHECKPOINT_STAGES)
    if keys.CHANNELS_LAST:
        architecture.memory_format = torch.channels_last
    return architecture


@BACKBONE_REGISTRY.register()
def build_split_backbone(cfg, input_shape: ShapeSpec) -> SplitBase:
    """The shared base: stem and stages up to ``MODEL.BACKBONE.SPLIT_AT``."""
    split_at = cfg.MODEL.BACKBONE.SPLIT_AT
    if split_at not in STAGES:
        raise ConfigError(f"MODEL.BACKBONE.SPLIT_AT is {split_at!r}; legal: {', '.join(STAGES)}")
    out_features = list(cfg.MODEL.RESNETS.OUT_FEATURES)
    legal = STAGES[: STAGES.index(split_at) + 1]
    if split_at not in out_features or not set(out_features) <= set(legal):
        raise ConfigError(
            f"MODEL.RESNETS.OUT_FEATURES is {out_features}, but the base ends at {split_at} "
            f"(MODEL.BACKBONE.SPLIT_AT): name {split_at}, and earlier stages where they are read"
        )
    return build_split_architecture(cfg).make_base(
        split_at,
        out_features,
        cfg.MODEL.BACKBONE.FREEZE_AT,
        cfg.MODEL.BACKBONE.SIZE_DIVISIBILITY,
    )


def add_split_config(cfg: CN) -> None:
    """Keys of every backbone that is cut in two."""
    # Last stage of the base that detector and embedder share; later stages form the identification
    # net of the embedder. "res2" | "res3" | "res4" | "res5" (the whole backbone: AlignPS)
    cfg.MODEL.BACKBONE.SPLIT_AT = "res3"
    # Architecture that build_split_backbone cuts, a name in SPLIT_ARCHITECTURE_REGISTRY:
    # "SplitResNet" | "SplitShuffleNetV1" | "SplitShuffleNetV2" | "SplitConvNeXt". All of them read
    # MODEL.RESNETS.OUT_FEATURES (maps that the base puts out); ResNet and ShuffleNets also NORM.
    cfg.MODEL.BACKBONE.ARCHITECTURE = "SplitResNet"
    # Activation checkpointing: stages, wherever they stand in the model, whose activations are
    # computed again in the backward instead of kept. Less memory, more time, the same gradients.
    cfg.MODEL.BACKBONE.CHECKPOINT_STAGES = ()
    # Convolutions with the channels last in memory: the same results, often faster.
    cfg.MODEL.BACKBONE.CHANNELS_LAST = False
    # Images are padded to a multiple of it, at the right and below; 0: not. torchvision's
    # detectors: 32
    cfg.MODEL.BACKBONE.SIZE_DIVISIBILITY = 0
