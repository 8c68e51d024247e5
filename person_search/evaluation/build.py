"""The evaluator that fits a test set and what the model is run on."""

import os

from detectron2.config import CfgNode as CN
from detectron2.evaluation import DatasetEvaluator

from ..data.catalog import kind_of
from ..errors import ConfigError
from .reid_evaluator import ReIDEvaluator
from .search_evaluator import SearchEvaluator

EVALUATORS = {
    ("person_search", "frames"): SearchEvaluator,
    ("person_search", "hybrid"): SearchEvaluator,
    ("person_search", "features"): SearchEvaluator,
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
    kind = kind_of(dataset_name) or ""
    if (kind, cfg.DATALOADER.SOURCE) not in EVALUATORS:
        known = ", ".join(f"{k} with {source}" for k, source in EVALUATORS)
        raise ConfigError(
            f"DATASETS.TEST: {dataset_name} has evaluator_type {kind!r}, DATALOADER.SOURCE is "
            f"{cfg.DATALOADER.SOURCE!r}; there are evaluators for {known}"
        )
    return EVALUATORS[kind, cfg.DATALOADER.SOURCE]


def add_evaluation_config(cfg: CN) -> None:
    """Keys of the evaluation of a search."""
    # Images of equal size that go through the model together
    cfg.TEST.IMS_PER_BATCH = 1
    cfg.TEST.SEARCH = CN()
    # Protocols to evaluate, by the names in the data set's metadata ("regular", "multi_view",
    # "gallery_100", ...). (): the data set's default one. ("all",): all of them.
    cfg.TEST.SEARCH.PROTOCOLS = ()
    # Detections below this score are not in the gallery. It moves mAP: it is printed beside it.
    cfg.TEST.SEARCH.SCORE_THRESH = 0.5
    # Also search among the ground-truth boxes (upper bound without detection errors)
    cfg.TEST.SEARCH.GT_BOXES = False
    # Multiply a gallery similarity by its detection score (class weighted similarity of NAE)
    cfg.TEST.SEARCH.SCORE_WEIGHTING = False
    # Context bipartite graph matching of SeqNet: (k1 detections, k2 context persons); (): off
    cfg.TEST.SEARCH.CBGM = ()
    # Also report with k-reciprocal re-ranking (Zhong et al., CVPR 2017): (k1, k2, lambda, number of
    # most similar detections that are re-ranked), as (20, 6, 0.3, 1000); (): off
    cfg.TEST.SEARCH.RERANK = ()
    # Also report with embeddings adapted to the cameras of the gallery in closed form, fitted on
    # its detections without any label.
    cfg.TEST.SEARCH.ADAPT = False
    # "corrected": every frame counts once, the query's own frame never | "reference": as the
    # public scripts count (CUHK-SYSU's doubled rows twice, its own-frame rows kept)
    cfg.TEST.SEARCH.CONVENTIONS = "corrected"
    # Save detections and embeddings as results_<data set>.npz in OUTPUT_DIR/inference
    cfg.TEST.SEARCH.SAVE_RESULTS = True
