"""What a model is trained and tested on: frames, crops of persons, or both (DATALOADER.SOURCE)."""

from torch.utils.data import DataLoader

from person_search.errors import ConfigError

from . import build, crop_loaders, hybrid_loader

TRAIN_RECORDS = {
    "frames": build.train_records,
    "crops": crop_loaders.train_crops,
    "hybrid": hybrid_loader.train_images,
}
TRAIN_LOADERS = {
    "frames": build.build_train_loader,
    "crops": crop_loaders.build_crop_train_loader,
    "hybrid": hybrid_loader.build_hybrid_train_loader,
}
TEST_LOADERS = {
    "frames": build.build_test_loader,
    "crops": crop_loaders.build_crop_test_loader,
    "hybrid": build.build_test_loader,
}


def _by_source(cfg, functions: dict):
    if cfg.DATALOADER.SOURCE not in functions:
        raise ConfigError(
            f"DATALOADER.SOURCE is {cfg.DATALOADER.SOURCE!r}; legal: {', '.join(functions)}"
        )
    return functions[cfg.DATALOADER.SOURCE]


def count_train_samples(cfg) -> int:
    """Number of frames and crops of ``DATASETS.TRAIN``: the length of an epoch."""
    return len(_by_source(cfg, TRAIN_RECORDS)(cfg))


def build_train_loader(cfg) -> DataLoader:
    """Endless loader of training batches, each a list of dicts."""
    return _by_source(cfg, TRAIN_LOADERS)(cfg)


def build_test_loader(cfg, name: str) -> DataLoader:
    """Loader that gives every frame or crop of a test set once."""
    return _by_source(cfg, TEST_LOADERS)(cfg, name)
