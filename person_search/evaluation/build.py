"""The evaluator that fits a test set and what the model is run on."""

import os

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from person_search.errors import ConfigError

from .reid_evaluator import ReIDEvaluator
from .search_evaluator import SearchEvaluator

EVALUATORS = {
    ("person_search", "frames"): SearchEvaluator.from_config,
    ("person_search", "hybrid"): SearchEvaluator.from_config,
    ("person_search", "crops"): ReIDEvaluator.from_config,
    ("reid", "crops"): ReIDEvaluator.from_config,
}
"""``evaluator_type`` of the data set, ``DATALOADER.SOURCE`` -> (cfg, dataset_name, output_dir)."""


def build_evaluator(cfg, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluator:
    """The evaluator of a test set; its files go to ``OUTPUT_DIR/inference`` by default."""
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type", None)
    if (kind, cfg.DATALOADER.SOURCE) not in EVALUATORS:
        known = ", ".join(f"{k} with {source}" for k, source in EVALUATORS)
        raise ConfigError(
            f"DATASETS.TEST: {dataset_name} has evaluator_type {kind!r}, DATALOADER.SOURCE is "
            f"{cfg.DATALOADER.SOURCE!r}; there are evaluators for {known}"
        )
    folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
    return EVALUATORS[kind, cfg.DATALOADER.SOURCE](cfg, dataset_name, folder)
