from .branch import ReIDBranch
from .heads import (
    REID_HEAD_REGISTRY,
    BagOfTricksHead,
    NormAwareHead,
    OIMHead,
    SimSiamHead,
    SoftmaxHead,
    build_reid_head,
    count_train_ids,
)
from .poolers import (
    MRFP,
    REID_POOLER_REGISTRY,
    SingleLevelPooler,
    WholeImage,
    build_reid_pooler,
    with_float_boxes,
)
from .rois import ReIDSampler

__all__ = [
    "BagOfTricksHead",
    "MRFP",
    "NormAwareHead",
    "OIMHead",
    "REID_HEAD_REGISTRY",
    "REID_POOLER_REGISTRY",
    "ReIDBranch",
    "ReIDSampler",
    "SimSiamHead",
    "SingleLevelPooler",
    "SoftmaxHead",
    "WholeImage",
    "build_reid_head",
    "build_reid_pooler",
    "count_train_ids",
    "with_float_boxes",
]
