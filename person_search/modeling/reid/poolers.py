"""RoI features for the identification net: one level, or several fused (MRFP).

Shape shorthand in this module:
    N: number of images; R: number of boxes, summed over the images
    H, W: size of the RoI feature, C: channels of the last (coarsest) map that is read
"""

from detectron2.config import configurable
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.roi_align import FloatROIAlign
from person_search.registry import look_up

from ..backbone import build_split_architecture

REID_POOLER_REGISTRY = Registry("REID_POOLER")
REID_POOLER_REGISTRY.__doc__ = """
Poolers of the re-ID branch: ``pooler(features: dict, boxes: list[Boxes]) -> (R, C, H, W)``.
The registered class is called with ``(cfg, input_shape)`` and has an attribute ``channels``.
"""


def with_float_boxes(pooler: ROIPooler) -> ROIPooler:
    """The pooler itself, whose RoIAlign does not round boxes in mixed precision."""
    for level, old in enumerate(pooler.level_poolers):
        if isinstance(old, ROIAlign):
            keys = old.output_size, old.spatial_scale, old.sampling_ratio, old.aligned
            pooler.level_poolers[level] = FloatROIAlign(*keys)
    return pooler


def _roi_pooler(cfg, shape: ShapeSpec, zoom: int = 1) -> ROIPooler:
    height, width = cfg.MODEL.REID.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=(height * zoom, width * zoom),
        scales=(1.0 / shape.stride,),
        sampling_ratio=cfg.MODEL.REID.POOLER_SAMPLING_RATIO,
        pooler_type=cfg.MODEL.REID.POOLER_TYPE,
    )
    return with_float_boxes(pooler)


def _in_features(cfg, input_shape: dict[str, ShapeSpec], name: str, number: int) -> list[str]:
    features = list(cfg.MODEL.REID.IN_FEATURES)
    if len(features) != number:
        raise ConfigError(
            f"MODEL.REID.POOLER {name} reads {number} feature map(s), but MODEL.REID.IN_FEATURES "
            f"is {features}"
        )
    absent = [f for f in features if f not in input_shape]
    if absent:
        raise ConfigError(
            f"MODEL.REID.IN_FEATURES has {absent}, but the backbone puts out "
            f"{', '.join(input_shape)} (MODEL.RESNETS.OUT_FEATURES)"
        )
    return features


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
        (feature,) = _in_features(cfg, input_shape, cls.__name__, 1)
        shape = input_shape[feature]
        return {
            "in_feature": feature,
            "pooler": _roi_pooler(cfg, shape),
            "channels": shape.channels,
        }

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Pool xyxy boxes in network-input pixels, one ``Boxes`` per image, to (R, C, H, W)."""
        return self.pooler([features[self.in_feature]], boxes)


@REID_POOLER_REGISTRY.register()
class MRFP(nn.Module):
    """Multi-level RoI fusion pooling (STL, section 3.2).

    The finer map is pooled at twice the resolution (2H, 2W), brought to (C, H, W) by a neck of its
    own - a second copy of the stage between the two maps - and added to the pooled coarse map. No
    norm or activation follows the sum.

    Args:
        in_features: names of the finer and the coarser map.
        fine_pooler, coarse_pooler: single-scale RoI poolers of (2H, 2W) and (H, W).
        neck: (R, C_fine, 2H, 2W) -> (R, C, H, W).
        channels: C.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        fine_pooler: ROIPooler,
        coarse_pooler: ROIPooler,
        neck: nn.Module,
        channels: int,
    ):
        super().__init__()
        self.fine, self.coarse = in_features
        self.fine_pooler, self.coarse_pooler = fine_pooler, coarse_pooler
        self.neck = nn.Sequential()
        self.neck.add_module(self.coarse, neck)  # named by its stage, so stage weights fit
        self.channels = channels

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        features = _in_features(cfg, input_shape, cls.__name__, 2)
        fine, coarse = (input_shape[f] for f in features)
        if fine.stride * 2 != coarse.stride:
            raise ConfigError(
                f"MRFP needs a map and the one of twice its stride, but MODEL.REID.IN_FEATURES "
                f"{features} have strides {fine.stride} and {coarse.stride}"
            )
        return {
            "in_features": features,
            "fine_pooler": _roi_pooler(cfg, fine, zoom=2),
            "coarse_pooler": _roi_pooler(cfg, coarse),
            "neck": build_split_architecture(cfg).make_stage(features[1]),
            "channels": coarse.channels,
        }

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """See :meth:`SingleLevelPooler.forward`."""
        fine = self.neck(self.fine_pooler([features[self.fine]], boxes))
        return self.coarse_pooler([features[self.coarse]], boxes) + fine


@REID_POOLER_REGISTRY.register()
class WholeImage(nn.Module):
    """The map of a whole image is the feature of its one person: for crops, no boxes are read.

    Args:
        in_feature: name of the map.
        channels: C.
    """

    @configurable
    def __init__(self, *, in_feature: str, channels: int):
        super().__init__()
        self.in_feature, self.channels = in_feature, channels

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        (feature,) = _in_features(cfg, input_shape, cls.__name__, 1)
        return {"in_feature": feature, "channels": input_shape[feature].channels}

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(N, C, H, W), one row per image."""
        return features[self.in_feature]


def build_reid_pooler(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The pooler that ``MODEL.REID.POOLER`` names."""
    pooler = look_up(REID_POOLER_REGISTRY, cfg.MODEL.REID.POOLER, "MODEL.REID.POOLER")
    return pooler(cfg, input_shape)
