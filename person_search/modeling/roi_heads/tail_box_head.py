"""The tail of the backbone as a box head."""

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_BOX_HEAD_REGISTRY
from torch import Tensor, nn

from person_search.layers.pooling import GlobalPool

from ..backbone.split import build_split_architecture
from ..identity.base import pooling_kind


@ROI_BOX_HEAD_REGISTRY.register()
class TailBoxHead(nn.Module):
    """The stages behind the split point, with weights of their own, and global pooling.

    Args:
        net: (R, C_in, H, W) -> (R, C, h, w).
        pool: global pooling.
        channels: C.
    """

    @configurable
    def __init__(self, *, net: nn.Module, pool: GlobalPool, channels: int):
        super().__init__()
        self.net, self.pool = net, pool
        self.output_shape = ShapeSpec(channels=channels, height=1, width=1)

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec) -> dict:
        architecture = build_split_architecture(cfg)
        return {
            "net": architecture.make_tail(cfg.MODEL.BACKBONE.SPLIT_AT, cfg.MODEL.REID.LAST_STRIDE),
            "pool": GlobalPool(pooling_kind(cfg)),
            "channels": architecture.channels("res5"),
        }

    def forward(self, x: Tensor) -> Tensor:
        """(R, C_in, H, W) RoI features to (R, C)."""
        return self.pool(self.net(x))
