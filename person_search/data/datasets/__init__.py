"""The readers. Importing this package registers all data sets with detectron2, reading none."""

import os

from person_search.data.datasets.builtin import register_all
from person_search.data.datasets.cuhk_sysu import (
    load_cuhk_sysu,
    load_cuhk_sysu_protocols,
    register_cuhk_sysu,
)
from person_search.data.datasets.prw import load_prw, load_prw_protocols, register_prw

__all__ = [
    "load_cuhk_sysu",
    "load_cuhk_sysu_protocols",
    "load_prw",
    "load_prw_protocols",
    "register_all",
    "register_cuhk_sysu",
    "register_prw",
]

register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
