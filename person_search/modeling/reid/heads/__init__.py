from .base import REID_HEAD_REGISTRY, build_reid_head, count_train_ids
from .oim import NormAwareHead, OIMHead
from .simsiam import SimSiamHead
from .softmax import BagOfTricksHead, SoftmaxHead

__all__ = [
    "BagOfTricksHead",
    "NormAwareHead",
    "OIMHead",
    "REID_HEAD_REGISTRY",
    "SimSiamHead",
    "SoftmaxHead",
    "build_reid_head",
    "count_train_ids",
]
