"""Registers the data sets under ``DETECTRON2_DATASETS``; importing the package calls it once.

The variable is read at that moment, as everywhere in detectron2: set it before Python starts, or
call ``register_all`` with another root, which moves all names there.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from .coco_style import register_prepared
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
from .registration import Reader
from .street import street_sets
from .wider import WIDER_PEDESTRIAN

LUPERSON_30K = 30_000
"""How many pictures of LUPerson hybrid pre-training draws."""

BUILTIN: dict[str, tuple[Reader, dict[str, Any]]] = {
    "prw": (PRW, {}),
    "cuhk_sysu": (CUHK_SYSU, {}),
    "posetrack21": (POSETRACK21, {}),
    "market1501": (MARKET1501, {}),
    "msmt17": (MSMT17, {}),
    "cuhk03_labeled": (CUHK03, {"boxes": "labeled"}),
    "cuhk03_detected": (CUHK03, {"boxes": "detected"}),
    "luperson": (LUPERSON, {}),
    "luperson30k": (LUPERSON, {"number": LUPERSON_30K}),
    "crowdhuman": (CROWDHUMAN, {}),
    "crowdhuman_visible": (CROWDHUMAN, {"boxes": "visible"}),
    "eurocity": (EUROCITY, {}),
    "eurocity_night": (EUROCITY, {"time": "night"}),
    "mot17det": (MOT17DET, {}),
    "wider_pedestrian": (WIDER_PEDESTRIAN, {"edition": "2019"}),
    "wider_pedestrian2018": (WIDER_PEDESTRIAN, {"edition": "2018"}),
}
"""Name without split -> its reader, and how that reads it."""


def register_all(root: str | Path) -> None:
    """Registers every data set by its usual folder below ``root``, without reading it.

    Names: those of ``BUILTIN`` with their splits, as "prw_train" (datasets/README.md lists them),
    and the drawn data (:mod:`.street`). Folders that tools/prepare_dataset.py wrote are registered
    by their own names; the one file that is opened for it is their ``dataset.json``.
    """
    for name, register in (*_published_sets(root), *street_sets(root)):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
        register(name)
    register_prepared(root)


def _published_sets(root: str | Path) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Name of a data set, and what registers it under that name."""
    for name, (reader, options) in BUILTIN.items():
        for split in reader.splits:
            yield f"{name}_{split}", partial(reader.register, root=root, split=split, **options)


def expected_counts(name: str) -> dict[str, int]:
    """The published number of frames, boxes, persons, ... of a registered data set."""
    for reader, _ in BUILTIN.values():
        if name in reader.counts:
            return dict(reader.counts[name])
    return {}


def is_builtin(name: str) -> bool:
    """Whether a data set of another kind than the prepared ones is called so."""
    splits = [n for n in DatasetCatalog if n.rpartition("_")[0] == name]
    return any(not MetadataCatalog.get(n).get("is_prepared", False) for n in splits)
