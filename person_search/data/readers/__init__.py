"""The readers. Importing this package registers all data sets with detectron2, reading none."""

import os

from person_search.data.readers.builtin import register_all
from person_search.data.readers.coco_style import (
    load_coco_style,
    load_coco_style_protocols,
    register_coco_style,
)
from person_search.data.readers.crowdhuman import load_crowdhuman, register_crowdhuman
from person_search.data.readers.cuhk03 import load_cuhk03, register_cuhk03
from person_search.data.readers.cuhk_sysu import (
    load_cuhk_sysu,
    load_cuhk_sysu_protocols,
    register_cuhk_sysu,
)
from person_search.data.readers.eurocity import load_eurocity, register_eurocity
from person_search.data.readers.luperson import load_luperson, register_luperson
from person_search.data.readers.market1501 import load_market1501_style, register_market1501_style
from person_search.data.readers.msmt17 import load_msmt17, register_msmt17
from person_search.data.readers.posetrack21 import (
    load_posetrack21,
    load_posetrack21_protocols,
    register_posetrack21,
)
from person_search.data.readers.prw import load_prw, load_prw_protocols, register_prw

__all__ = [
    "load_coco_style",
    "load_coco_style_protocols",
    "load_crowdhuman",
    "load_cuhk03",
    "load_cuhk_sysu",
    "load_cuhk_sysu_protocols",
    "load_eurocity",
    "load_luperson",
    "load_market1501_style",
    "load_msmt17",
    "load_posetrack21",
    "load_posetrack21_protocols",
    "load_prw",
    "load_prw_protocols",
    "register_all",
    "register_coco_style",
    "register_crowdhuman",
    "register_cuhk03",
    "register_cuhk_sysu",
    "register_eurocity",
    "register_luperson",
    "register_market1501_style",
    "register_msmt17",
    "register_posetrack21",
    "register_prw",
]

register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
