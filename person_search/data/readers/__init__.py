"""The readers. Importing this package registers all data sets with detectron2, reading none."""

import os

from .builtin import BUILTIN, expected_counts, register_all
from .coco_style import register_coco_style
from .crowdhuman import CROWDHUMAN
from .cuhk03 import CUHK03
from .cuhk_sysu import CUHK_SYSU
from .eurocity import EUROCITY
from .luperson import LUPERSON
from .market1501 import MARKET1501
from .mot17det import MOT17DET
from .msmt17 import MSMT17
from .posetrack21 import POSETRACK21
from .prw import PRW
from .wider import WIDER_PEDESTRIAN

__all__ = [
    "BUILTIN",
    "CROWDHUMAN",
    "CUHK03",
    "CUHK_SYSU",
    "EUROCITY",
    "LUPERSON",
    "MARKET1501",
    "MOT17DET",
    "MSMT17",
    "POSETRACK21",
    "PRW",
    "WIDER_PEDESTRIAN",
    "expected_counts",
    "register_all",
    "register_coco_style",
]

register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
