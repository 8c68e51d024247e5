"""Heads of the re-ID branch: from maps of the identification net to an embedding and a loss."""

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.registry import Registry
from torch import nn

from person_search.registry import look_up

REID_HEAD_REGISTRY = Registry("REID_HEAD")
REID_HEAD_REGISTRY.__doc__ = """
Heads of the re-ID branch. The registered class is called with ``(cfg, in_channels)``.

A head sees a dict ``maps``: stage name -> (R, C, h, w), one row per RoI. Its first entry, named by
the split point, is the pooled RoI feature; the others are what each stage of the identification net
made of it, "res5" the last. ``in_channels`` gives the C of each. A head has

* ``forward(maps) -> embeddings (R, D)``, not yet of unit length,
* ``losses(maps, embeddings, person_ids (R,)) -> dict`` with the same keys at every call;
  ``embeddings`` are what ``forward`` made of ``maps``. Persons are ids >= 0 and UNLABELED; RoIs of
  BACKGROUND may be among them. R may be 0 or 1, and all may be without identity,
* ``in_channels``, ``embedding_dim``: C of each stage, and D,
* ``uses_unlabeled``: whether persons without identity take part in its losses,
* ``training_only``: prefixes of its state that a model at test can do without,
* ``memory`` (optional): prefixes of its state that remember the persons of one training run. It
  comes back when that run is resumed, and never through ``MODEL.WEIGHTS``.
"""


def count_train_ids(cfg) -> int:
    """Number of identities that a classifier has to tell apart.

    ``MODEL.REID.NUM_IDS`` if it is not -1, else the sum of the metadata's ``num_person_ids`` over
    ``DATASETS.TRAIN``, whose data sets are read for it if they have not been yet.
    """
    if cfg.MODEL.REID.NUM_IDS >= 0:
        return cfg.MODEL.REID.NUM_IDS
    for name in cfg.DATASETS.TRAIN:
        DatasetCatalog.get(name)
    return sum(MetadataCatalog.get(name).num_person_ids for name in cfg.DATASETS.TRAIN)


def build_reid_head(cfg, in_channels: dict[str, int]) -> nn.Module:
    """The head that ``MODEL.REID.HEAD`` names."""
    return look_up(REID_HEAD_REGISTRY, cfg.MODEL.REID.HEAD, "MODEL.REID.HEAD")(cfg, in_channels)
