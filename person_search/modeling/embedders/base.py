"""The embedder: what gives a box of a scene, or a crop, its embedding.

Shape shorthand in this module:
    N: number of images; R: number of boxes, summed over the images; D: embedding size
    C, h, w: pooled feature of a box
"""

import torch.nn.functional as F
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.layers.zero_loss import zero_loss
from person_search.registry import look_up

from ..backbone.split import STAGES, build_split_architecture
from ..identity.base import IdentityHead, build_identity_head

REID_POOLER_REGISTRY = Registry("REID_POOLER")
REID_POOLER_REGISTRY.__doc__ = """
Poolers: ``pooler(features: dict, boxes: list[Boxes]) -> (R, C, h, w)``. The registered class is
called with ``(cfg, input_shape)`` and has an attribute ``channels``, C.
"""

# How the identity head is called in the state of every model: models hold their embedder as
# ``reid``. By this name the head of a re-ID pre-training finds its place in another model.
IDENTITY_HEAD = "reid.head."


class Embedder(nn.Module):
    """Pools a feature of each box, encodes it, and makes a row of it.

    Detections, query boxes and ground-truth boxes all go through :meth:`embed`. Three other cases
    have calls of their own: crops (:meth:`pool_crops`), features that were pooled before
    (:meth:`encode`), and nobody (:meth:`nobody`).

    Args:
        split_at: stage that the base ends with.
        pooler: see :data:`REID_POOLER_REGISTRY`.
        net: identification net, the stages behind the split point; children are named by stage.
        head: makes rows of the maps, and learns them.
    """

    @configurable
    def __init__(self, *, split_at: str, pooler: nn.Module, net: nn.Sequential, head: IdentityHead):
        super().__init__()
        self.split_at, self.pooler, self.net, self.head = split_at, pooler, net, head

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        architecture = build_split_architecture(cfg)
        split_at = cfg.MODEL.BACKBONE.SPLIT_AT
        stages = STAGES[STAGES.index(split_at) :]
        channels = {stage: architecture.channels(stage) for stage in stages}
        pooler = build_pooler(cfg, input_shape)
        if pooler.channels != channels[split_at]:
            raise ConfigError(
                f"MODEL.REID.IN_FEATURES {list(cfg.MODEL.REID.IN_FEATURES)} give "
                f"{pooler.channels} channels, but the identification net behind "
                f"MODEL.BACKBONE.SPLIT_AT {split_at} takes {channels[split_at]}"
            )
        return {
            "split_at": split_at,
            "pooler": pooler,
            "net": architecture.make_tail(split_at, cfg.MODEL.REID.LAST_STRIDE),
            "head": build_identity_head(cfg, channels),
        }

    def pool(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R, C, h, w) of xyxy boxes in pixels of the network input, one ``Boxes`` per image."""
        return self.pooler(features, boxes)

    def pool_crops(self, features: dict[str, Tensor]) -> Tensor:
        """(N, C, h, w) of images that show one person each: the whole map of the base."""
        return features[self.split_at]

    def encode(self, pooled: Tensor) -> dict[str, Tensor]:
        """What the head sees: stage name -> map, the pooled features (R, C, h, w) first."""
        maps = {self.split_at: pooled}
        for name, stage in self.net.named_children():
            maps[name] = pooled = stage(pooled)
        return maps

    def nobody(self) -> dict[str, Tensor]:
        """What the head sees where there is nobody: maps of no rows.

        Nothing is run for them, since batch norm has no statistics of nothing. Their gradients
        still reach every parameter of the embedder (see :func:`.zero_loss`).
        """
        zero = zero_loss(self)
        return {s: zero.new_zeros(0, c, 1, 1) + zero for s, c in self.head.in_channels.items()}

    def maps(self, features: dict[str, Tensor], boxes: list[Boxes]) -> dict[str, Tensor]:
        """What the head sees of boxes, which may be none at all."""
        if any(len(of_image) for of_image in boxes):
            return self.encode(self.pool(features, boxes))
        return self.nobody()

    def forward(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R, D) rows, not of unit length; see :meth:`pool`."""
        return self.head(self.maps(features, boxes))

    def embed(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Unit embeddings (R, D) in float32; (0, D) without boxes."""
        return F.normalize(self(features, boxes).float())

    def embed_crops(self, features: dict[str, Tensor]) -> Tensor:
        """Unit embeddings (N, D) in float32 of images that show one person each."""
        return F.normalize(self.head(self.encode(self.pool_crops(features))).float())


def build_pooler(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The pooler that ``MODEL.REID.POOLER`` names."""
    pooler = look_up(REID_POOLER_REGISTRY, cfg.MODEL.REID.POOLER, "MODEL.REID.POOLER")
    return pooler(cfg, input_shape)


def in_features(cfg, input_shape: dict[str, ShapeSpec], number: int) -> list[str]:
    """``MODEL.REID.IN_FEATURES``: the maps that a pooler reads, ``number`` of them."""
    features = list(cfg.MODEL.REID.IN_FEATURES)
    if len(features) != number:
        raise ConfigError(
            f"MODEL.REID.POOLER {cfg.MODEL.REID.POOLER} reads {number} feature map(s), but "
            f"MODEL.REID.IN_FEATURES is {features}"
        )
    absent = [f for f in features if f not in input_shape]
    if absent:
        raise ConfigError(
            f"MODEL.REID.IN_FEATURES has {absent}, but the backbone puts out "
            f"{', '.join(input_shape)} (MODEL.RESNETS.OUT_FEATURES)"
        )
    return features


def add_embedder_config(cfg: CN) -> None:
    """Keys of the embedder: what is pooled, and what encodes it."""
    cfg.MODEL.REID = CN()
    # A name in REID_POOLER_REGISTRY: "SingleLevelPooler" | "MRFP" (STL, section 3.2) |
    # "WholeImage" (crops)
    cfg.MODEL.REID.POOLER = "SingleLevelPooler"
    # Features that the pooler reads, coarse one last. SingleLevelPooler: one; MRFP: two.
    cfg.MODEL.REID.IN_FEATURES = ["res3"]
    # (height, width) of the RoI feature of the last map in IN_FEATURES. 32x16 at stride 8 is the
    # resolution that a 256x128 crop has there (STL, section 3.1).
    cfg.MODEL.REID.POOLER_RESOLUTION = (32, 16)
    # Samples per RoI bin and side; 0: as many as the bin has pixels. STL is silent: 2, as in
    # torchvision's detectors.
    cfg.MODEL.REID.POOLER_SAMPLING_RATIO = 2
    # detectron2's pooler types. STL is silent: ROIAlignV2 (half-pixel correct).
    cfg.MODEL.REID.POOLER_TYPE = "ROIAlignV2"
    # Stride of the last stage of the identification net; 1 keeps detail ("last stride" of the
    # re-ID literature; STL, section 3.1).
    cfg.MODEL.REID.LAST_STRIDE = 1
