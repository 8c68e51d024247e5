"""The evaluator that fits a test set and what the model is run on."""

import os

from detectron2.evaluation import DatasetEvaluator

from ..data.catalog import kind_of
from ..errors import ConfigError
from .reid_evaluator import ReIDEvaluator
from .search_evaluator import SearchEvaluator

EVALUATORS = {
    ("person_search", "frames"): SearchEvaluator,
    ("person_search", "hybrid"): SearchEvaluator,
    ("person_search", "crops"): ReIDEvaluator,
    ("reid", "crops"): ReIDEvaluator,
}
"""``evaluator_type`` of the data set, ``DATALOADER.SOURCE`` -> evaluator."""


def build_evaluator(cfg, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluator:
    """The evaluator of a test set; its files go to ``OUTPUT_DIR/inference`` by default."""
    folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
    return _evaluator_of(cfg, dataset_name)(cfg, dataset_name, folder)


def check_test_settings(cfg, dataset_name: str) -> None:
    """Read all that :func:`build_evaluator` will, and build nothing.

    For before a training, so that a mistake there does not wait for its end.

    Raises:
        ConfigError: no evaluator is for this data set, or a key of ``TEST`` is not legal.
        DatasetError: queries or galleries are missing or damaged.
    """
    _evaluator_of(cfg, dataset_name).from_config(cfg, dataset_name)


def _evaluator_of(cfg, dataset_name: str) -> type[SearchEvaluator] | type[ReIDEvaluator]:
    kind = kind_of(dataset_name)
    if (kind, cfg.DATALOADER.SOURCE) not in EVALUATORS:
        known = ", ".join(f"{k} with {source}" for k, source in EVALUATORS)
        raise ConfigError(
            f"DATASETS.TEST: {dataset_name} has evaluator_type {kind!r}, DATALOADER.SOURCE is "
            f"{cfg.DATALOADER.SOURCE!r}; there are evaluators for {known}"
        )
    return EVALUATORS[kind, cfg.DATALOADER.SOURCE]
