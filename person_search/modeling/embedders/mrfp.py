"""Multi-level RoI fusion pooling (STL, section 3.2).

Shape shorthand in this module:
    R: number of boxes, summed over the images; H, W: size of a RoI feature
    C: channels of the coarser map, C_fine: those of the finer one
"""

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import Tensor, nn

from person_search.errors import ConfigError

from ..backbone.split import STAGES, build_split_architecture
from .base import REID_POOLER_REGISTRY, in_features
from .roi import roi_pooler


@REID_POOLER_REGISTRY.register()
class MRFP(nn.Module):
    """RoI features of two maps, fused.

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
        features = in_features(cfg, input_shape, 2)
        if not set(features) <= set(STAGES):
            raise ConfigError(
                f"MODEL.REID.POOLER MRFP has a neck that is a stage of the backbone, but "
                f"MODEL.REID.IN_FEATURES {features} are not stages ({', '.join(STAGES)}): it does "
                "not fit the levels of an FPN, which all have the same channels"
            )
        fine, coarse = (input_shape[f] for f in features)
        if fine.stride * 2 != coarse.stride:
            raise ConfigError(
                f"MRFP needs a map and the one of twice its stride, but MODEL.REID.IN_FEATURES "
                f"{features} have strides {fine.stride} and {coarse.stride}"
            )
        return {
            "in_features": features,
            "fine_pooler": roi_pooler(cfg, fine, zoom=2),
            "coarse_pooler": roi_pooler(cfg, coarse),
            "neck": build_split_architecture(cfg).make_stage(features[1]),
            "channels": coarse.channels,
        }

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R, C, H, W) of xyxy boxes in pixels of the network input, one ``Boxes`` per image."""
        fine = self.neck(self.fine_pooler([features[self.fine]], boxes))
        return self.coarse_pooler([features[self.coarse]], boxes) + fine
