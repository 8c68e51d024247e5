"""A whole backbone with a feature pyramid, of which one map is read by an embedder, too."""

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from torch import Tensor

from person_search.errors import ConfigError

from .split import STAGES, SplitBase, build_split_architecture


class _Given(Backbone):
    """Stands for the backbone of an FPN that is handed the maps themselves."""

    def __init__(self, shapes: dict[str, ShapeSpec]):
        super().__init__()
        self._shapes = shapes

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self._shapes

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        return maps


class SplitFPN(Backbone):
    """P3 to P7 of RetinaNet, and the map of the stage that the embedder begins behind.

    Args:
        base: stem and all stages, which puts out res3, res4, res5 and ``split_at``.
        split_at: the stage whose map is put out beside the pyramid.
        channels: of the pyramid.
        square: side that pictures are padded to; 0: none.
    """

    def __init__(self, base: SplitBase, split_at: str, channels: int = 256, square: int = 0):
        super().__init__()
        self.base, self.split_at, self.square = base, split_at, square
        shapes = base.output_shape()
        top = LastLevelP6P7(shapes["res5"].channels, channels)
        levels = ["res3", "res4", "res5"]
        self.neck = FPN(_Given(shapes), levels, channels, top_block=top)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """See ``Backbone``."""
        return {self.split_at: self.base.output_shape()[self.split_at], **self.neck.output_shape()}

    @property
    def size_divisibility(self) -> int:
        """See ``Backbone``."""
        return self.neck.size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """See ``Backbone``."""
        return {"square_size": self.square}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) images to maps (N, C, H/stride, W/stride)."""
        maps = self.base(x)
        return {self.split_at: maps[self.split_at], **self.neck(maps)}


@BACKBONE_REGISTRY.register()
def build_split_fpn_backbone(cfg, input_shape: ShapeSpec) -> SplitFPN:
    """All stages with a pyramid, cut at ``MODEL.BACKBONE.SPLIT_AT`` for the embedder."""
    split_at = cfg.MODEL.BACKBONE.SPLIT_AT
    if split_at not in STAGES[:-1]:
        raise ConfigError(
            f"MODEL.BACKBONE.SPLIT_AT is {split_at!r}; legal: {', '.join(STAGES[:-1])}"
        )
    out_features = sorted({split_at, "res3", "res4", "res5"})
    base = build_split_architecture(cfg).make_base(
        "res5", out_features, cfg.MODEL.BACKBONE.FREEZE_AT
    )
    return SplitFPN(base, split_at, cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.SEQUENTIAL.SQUARE)
