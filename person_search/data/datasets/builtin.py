"""Registers the data sets under ``DETECTRON2_DATASETS``; importing the package calls it once.

The variable is read at that moment, as everywhere in detectron2: set it before Python starts, or
call ``register_all`` with another root, which moves all names there.
"""

import os
from collections.abc import Callable
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.data.datasets.common import SPLITS, STREET
from person_search.data.datasets.cuhk_sysu import register_cuhk_sysu
from person_search.data.datasets.prw import register_prw

STREET_SIZES = ("tiny", "small", "large")


def register_all(root: str | Path) -> None:
    """Registers every data set by its usual folder below ``root``; nothing is read from disk.

    Names: prw_{train,test}, cuhk_sysu_{train,test}, and the drawn data in both layouts as
    street_{tiny,small,large}_{train,test} and street_{tiny,small,large}_cuhk_{train,test}.
    """
    for split in SPLITS:
        _register(register_prw, f"prw_{split}", root, split)
        _register(register_cuhk_sysu, f"cuhk_sysu_{split}", root, split)
        for size in STREET_SIZES:
            folder = os.path.join(root, STREET, size)
            _register(register_prw, f"street_{size}_{split}", folder, split)
            _register(register_cuhk_sysu, f"street_{size}_cuhk_{split}", folder, split)


def _register(register: Callable, name: str, root: str | Path, split: str) -> None:
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register(name, root, split)
