"""Evaluation of person search, detection and re-identification: metrics in numpy, the evaluator."""

from .build import build_evaluator
from .detection import DetectionMetrics, evaluate_detection
from .galleries import Conventions, Galleries, has_cameras, resolve_galleries, sample_galleries
from .metrics import CBGM, SearchMetrics, evaluate_search, required_iou
from .open_set import (
    RATES,
    OpenSetCurve,
    OpenSetScores,
    false_alarm_rate,
    fit_open_set,
    held_out_rate,
    open_set_scores,
)
from .reid import ReIDMetrics, evaluate_reid
from .reid_evaluator import ReIDEvaluator
from .reranking import KReciprocal
from .results import SearchResults, dataset_arrays, protocol_arrays
from .search_evaluator import SearchEvaluator, SearchOptions
from .zheng import ZhengCurves, even_counts, even_thresholds, zheng_curves

__all__ = [
    "CBGM",
    "RATES",
    "Conventions",
    "DetectionMetrics",
    "Galleries",
    "KReciprocal",
    "OpenSetCurve",
    "OpenSetScores",
    "ReIDEvaluator",
    "ReIDMetrics",
    "SearchEvaluator",
    "SearchMetrics",
    "SearchOptions",
    "SearchResults",
    "ZhengCurves",
    "build_evaluator",
    "dataset_arrays",
    "evaluate_detection",
    "evaluate_reid",
    "evaluate_search",
    "even_counts",
    "even_thresholds",
    "false_alarm_rate",
    "fit_open_set",
    "has_cameras",
    "held_out_rate",
    "open_set_scores",
    "protocol_arrays",
    "required_iou",
    "resolve_galleries",
    "sample_galleries",
    "zheng_curves",
]
