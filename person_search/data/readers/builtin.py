"""Registers the data sets under ``DETECTRON2_DATASETS``; importing the package calls it once.

The variable is read at that moment, as everywhere in detectron2: set it before Python starts, or
call ``register_all`` with another root, which moves all names there.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.data.readers import crowdhuman, eurocity, luperson
from person_search.data.readers.coco_style import register_prepared
from person_search.data.readers.common import SPLITS, STREET
from person_search.data.readers.crowdhuman import register_crowdhuman
from person_search.data.readers.cuhk03 import register_cuhk03
from person_search.data.readers.cuhk_sysu import register_cuhk_sysu
from person_search.data.readers.eurocity import register_eurocity
from person_search.data.readers.luperson import register_luperson
from person_search.data.readers.market1501 import register_market1501_style
from person_search.data.readers.msmt17 import register_msmt17
from person_search.data.readers.posetrack21 import register_posetrack21
from person_search.data.readers.prw import register_prw

STREET_SIZES = ("tiny", "small", "large")

STREET_DOMAINS: dict[str, Callable] = {
    "noon": register_crowdhuman,
    "night": register_crowdhuman,
    "dusk": register_market1501_style,
    "fog": register_market1501_style,
    "web": register_luperson,
}
"""Drawn data of other looks, by the layout of each; of training only."""

LUPERSON_30K = 30_000
"""How many pictures of LUPerson hybrid pre-training draws."""

_BUILTIN: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "prw": (register_prw, SPLITS),
    "cuhk_sysu": (register_cuhk_sysu, SPLITS),
    "posetrack21": (register_posetrack21, SPLITS),
    "market1501": (register_market1501_style, SPLITS),
    "msmt17": (register_msmt17, SPLITS),
    "cuhk03_labeled": (partial(register_cuhk03, boxes="labeled"), SPLITS),
    "cuhk03_detected": (partial(register_cuhk03, boxes="detected"), SPLITS),
    "luperson": (register_luperson, luperson.SPLITS),
    "luperson30k": (partial(register_luperson, number=LUPERSON_30K), luperson.SPLITS),
    "crowdhuman": (register_crowdhuman, crowdhuman.SPLITS),
    "crowdhuman_visible": (partial(register_crowdhuman, boxes="visible"), crowdhuman.SPLITS),
    "eurocity": (register_eurocity, eurocity.SPLITS),
    "eurocity_night": (partial(register_eurocity, time="night"), eurocity.SPLITS),
}
"""Name without split -> (name, root, split) -> None, and the splits."""


def register_all(root: str | Path) -> None:
    """Registers every data set by its usual folder below ``root``, without reading it.

    Names: those of ``_BUILTIN`` with their splits, as "prw_train" (datasets/README.md lists them),
    and the drawn data in both layouts as street_{tiny,small,large}_{train,test} and
    street_{tiny,small,large}_cuhk_{train,test}; in other looks as
    street_{tiny,small,large}_{noon,night,dusk,fog,web}_train. Folders that
    tools/prepare_dataset.py wrote are registered by their own names; the one file that is opened
    for it is their ``dataset.json``.
    """
    for name, (register, splits) in _BUILTIN.items():
        for split in splits:
            _register(register, f"{name}_{split}", root, split)
    for size in STREET_SIZES:
        folder = os.path.join(root, STREET, size)
        for split in SPLITS:
            _register(register_prw, f"street_{size}_{split}", folder, split)
            _register(register_cuhk_sysu, f"street_{size}_cuhk_{split}", folder, split)
        for domain, register in STREET_DOMAINS.items():
            name = f"street_{size}_{domain}_train"
            _register(register, name, os.path.join(root, STREET, f"{size}_{domain}"), "train")
    register_prepared(root)


def is_builtin(name: str) -> bool:
    """Whether a data set of another kind than the prepared ones is called so."""
    splits = [n for n in DatasetCatalog if n.rpartition("_")[0] == name]
    return any(not MetadataCatalog.get(n).get("is_prepared", False) for n in splits)


def _register(register: Callable, name: str, root: str | Path, split: str) -> None:
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register(name, root, split)
