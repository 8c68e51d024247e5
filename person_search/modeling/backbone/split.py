"""A backbone cut in two: a shared base, and a tail that each box is put through.

Every model of this project names one split point (``MODEL.BACKBONE.SPLIT_AT``). The base (stem and
stages up to it) sees whole scenes and is a plain detectron2 backbone; the tail (the stages behind
it) sees RoI features. Both come from one :class:`SplitArchitecture`.
"""

from abc import ABC, abstractmethod

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.utils.registry import Registry
from torch import nn

from person_search.errors import ConfigError
from person_search.registry import look_up

SPLIT_ARCHITECTURE_REGISTRY = Registry("SPLIT_ARCHITECTURE")
SPLIT_ARCHITECTURE_REGISTRY.__doc__ = """
Architectures that can be cut at a stage. The registered class has a classmethod
``from_config(cfg)`` and returns a :class:`SplitArchitecture`.
"""

STAGES = ("res2", "res3", "res4", "res5")
"""Stage names of every architecture, by stride 4, 8, 16, 32; detectron2's names."""


class SplitArchitecture(ABC):
    """Makes the parts of a backbone, each call with weights of its own."""

    @abstractmethod
    def channels(self, stage: str) -> int:
        """Output channels of a stage in :data:`STAGES`."""

    @abstractmethod
    def make_base(self, last_stage: str, out_features: list[str], freeze_at: int) -> Backbone:
        """Stem and stages up to and including ``last_stage``."""

    @abstractmethod
    def make_stage(self, stage: str, stride: int | None = None) -> nn.Module:
        """One stage, with its usual stride (None) or another one."""

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
    key = "MODEL.BACKBONE.ARCHITECTURE"
    architecture = look_up(SPLIT_ARCHITECTURE_REGISTRY, cfg.MODEL.BACKBONE.ARCHITECTURE, key)
    return architecture.from_config(cfg)


@BACKBONE_REGISTRY.register()
def build_split_backbone(cfg, input_shape: ShapeSpec) -> Backbone:
    """The shared base: stem and stages up to ``MODEL.BACKBONE.SPLIT_AT``."""
    split_at = cfg.MODEL.BACKBONE.SPLIT_AT
    if split_at not in STAGES:
        raise ConfigError(f"MODEL.BACKBONE.SPLIT_AT is {split_at!r}; legal: {', '.join(STAGES)}")
    out_features = list(cfg.MODEL.RESNETS.OUT_FEATURES)
    too_late = [f for f in out_features if f in STAGES and f > split_at]
    if too_late:
        raise ConfigError(
            f"MODEL.RESNETS.OUT_FEATURES has {too_late}, but the base ends at {split_at} "
            "(MODEL.BACKBONE.SPLIT_AT)"
        )
    return build_split_architecture(cfg).make_base(
        split_at, out_features, cfg.MODEL.BACKBONE.FREEZE_AT
    )
