"""The loaders of what a model is trained and tested on.

``DATALOADER.SOURCE`` names the kind of sample: "frames", "crops" of persons, "hybrid" (both), or
"features" of persons that a model has pooled.
Each kind is a module with the same three functions: ``train_records(cfg)``,
``train_loader(cfg, records)`` and ``test_loader(cfg, name)``.
"""

from types import ModuleType

from detectron2.data import DatasetCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from torch.utils.data import DataLoader

from ..errors import ConfigError
from ..registry import look_up
from . import crops, features, frames, hybrid
from .mappers import MAPPER_REGISTRY

SOURCES = {"frames": frames, "crops": crops, "hybrid": hybrid, "features": features}

_loaded: dict[tuple, list[dict]] = {}
"""The records that were counted and wait for their loader, one entry at most."""


def source_of(cfg) -> ModuleType:
    """The kind of sample of a config, which its mapper and its model must be made for.

    Raises:
        ConfigError: there is no such kind, or the mapper or model is made for another one.
    """
    source = cfg.DATALOADER.SOURCE
    if source not in SOURCES:
        raise ConfigError(f"DATALOADER.SOURCE is {source!r}; legal: {', '.join(SOURCES)}")
    for key, name, registry in (
        ("INPUT.MAPPER", cfg.INPUT.MAPPER, MAPPER_REGISTRY),
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
    ):
        made_for = getattr(look_up(registry, name, key), "source", source)
        if made_for != source:
            raise ConfigError(
                f"{key} {name} is made for DATALOADER.SOURCE {made_for}, which is {source!r}: "
                "change one of them"
            )
    return SOURCES[source]


def _train_records(cfg) -> list[dict]:
    """The records of ``DATASETS.TRAIN``, numbered, as their source loads them."""
    key = (
        source_of(cfg),
        cfg.SEED,
        str(cfg.DATASETS),
        cfg.DATALOADER.INSTANCE_DISCRIMINATION,
        *(DatasetCatalog[name] for name in cfg.DATASETS.TRAIN),
    )
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = source_of(cfg).train_records(cfg)
    return _loaded[key]


def count_train_samples(cfg) -> int:
    """Number of frames and crops of ``DATASETS.TRAIN``: the length of an epoch.

    The records are kept for the :func:`build_train_loader` that follows.
    """
    return len(_train_records(cfg))


def build_train_loader(cfg) -> DataLoader:
    """Endless loader of training batches, each a list of dicts."""
    records = _train_records(cfg)
    _loaded.clear()  # the loader keeps them in a smaller form
    return source_of(cfg).train_loader(cfg, records)


def build_test_loader(cfg, name: str) -> DataLoader:
    """Loader that gives every frame or crop of a test set once."""
    return source_of(cfg).test_loader(cfg, name)
