"""RoIAlign of one map.

Shape shorthand in this module:
    R: number of boxes, summed over the images; C: channels of the map; H, W: size of a RoI feature
"""

from detectron2.config import configurable
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import Tensor, nn

from person_search.layers.roi_align import FloatROIAlign

from .base import REID_POOLER_REGISTRY, in_features


def with_float_boxes(pooler: ROIPooler) -> ROIPooler:
    """The pooler itself, whose RoIAlign does not round boxes in mixed precision."""
    for level, old in enumerate(pooler.level_poolers):
        if isinstance(old, ROIAlign):
            keys = old.output_size, old.spatial_scale, old.sampling_ratio, old.aligned
            pooler.level_poolers[level] = FloatROIAlign(*keys)
    return pooler


def roi_pooler(cfg, shape: ShapeSpec, zoom: int = 1) -> ROIPooler:
    """RoIAlign of one map, to ``zoom`` times ``MODEL.REID.POOLER_RESOLUTION``."""
    height, width = cfg.MODEL.REID.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=(height * zoom, width * zoom),
        scales=(1.0 / shape.stride,),
        sampling_ratio=cfg.MODEL.REID.POOLER_SAMPLING_RATIO,
        pooler_type=cfg.MODEL.REID.POOLER_TYPE,
    )
    return with_float_boxes(pooler)


@REID_POOLER_REGISTRY.register()
class SingleLevelPooler(nn.Module):
    """RoIAlign of one map: the baseline of STL.

    Args:
        in_feature: name of the map.
        pooler: single-scale RoI pooler of it.
        channels: C.
    """

    @configurable
    def __init__(self, *, in_feature: str, pooler: ROIPooler, channels: int):
        super().__init__()
        self.in_feature, self.pooler, self.channels = in_feature, pooler, channels

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        (feature,) = in_features(cfg, input_shape, 1)
        shape = input_shape[feature]
        return {
            "in_feature": feature,
            "pooler": roi_pooler(cfg, shape),
            "channels": shape.channels,
        }

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R, C, H, W) of xyxy boxes in pixels of the network input, one ``Boxes`` per image."""
        return self.pooler([features[self.in_feature]], boxes)
