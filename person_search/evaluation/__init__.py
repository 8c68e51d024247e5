"""Evaluation of person search, detection and re-identification: metrics in numpy, the evaluator.

The evaluators are loaded when they are asked for: metrics need neither torch nor detectron2.
"""

import importlib

from .adaptation import Adaptation, adapt_results, fit_adaptation
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
from .reranking import KReciprocal
from .results import SearchResults, dataset_arrays, protocol_arrays
from .sweep import SWEEPS, Sweep, SweepCurves, search_curves
from .zheng import zheng_curves

__all__ = [
    "CBGM",
    "RATES",
    "SWEEPS",
    "Adaptation",
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
    "Sweep",
    "SweepCurves",
    "adapt_results",
    "build_evaluator",
    "check_test_settings",
    "dataset_arrays",
    "evaluate_detection",
    "evaluate_reid",
    "evaluate_search",
    "false_alarm_rate",
    "fit_adaptation",
    "fit_open_set",
    "has_cameras",
    "held_out_rate",
    "open_set_scores",
    "protocol_arrays",
    "required_iou",
    "resolve_galleries",
    "sample_galleries",
    "search_curves",
    "zheng_curves",
]

_EVALUATORS = {
    "ReIDEvaluator": "reid_evaluator",
    "SearchEvaluator": "search_evaluator",
    "SearchOptions": "search_evaluator",
    "build_evaluator": "build",
    "check_test_settings": "build",
}


def __getattr__(name: str):
    if name in _EVALUATORS:
        return getattr(importlib.import_module(f".{_EVALUATORS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
