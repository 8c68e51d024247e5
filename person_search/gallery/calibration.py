"""From a similarity to a decision: is the person in the gallery at all?

A calibration is a small JSON file beside the weights, ``model_final.calibration.json``, that the
command ``calibrate`` writes. It says what similarity is enough in a gallery of a given size for a
given rate of false alarms (:mod:`person_search.evaluation.open_set`). Similarities in an adapted
gallery are others, so each version of an adaptation has a file of its own,
``model_final.1f0c93ab.calibration.json``.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from person_search import packs
from person_search.errors import CalibrationError, ConfigError
from person_search.evaluation import (
    RATES,
    OpenSetCurve,
    OpenSetScores,
    SearchResults,
    adapt_results,
    fit_open_set,
    open_set_scores,
)
from person_search.files import atomic_write
from person_search.structures import GalleryModel, Searcher

from .adapting import GalleryAdaptation
from .engines import GalleryIndex
from .persons import Filter

MODEL_FIELDS = ("weights_hash", "config_hash", "score_thresh", "dim")
"""What has to be as it was; of :class:`GalleryModel`."""


@dataclass(frozen=True)
class Threshold:
    """How similar a person has to be to count as the one that is looked for, and why.

    Attributes:
        similarity: that or more.
        false_alarm_rate: it was set for; None: the user gave the similarity.
        gallery: persons that were searched.
        data: the data set that it was fitted on.
        detection_rate: share of the present persons that were found there at that similarity.
        extrapolated: from higher rates, or from smaller galleries, than could be counted there.
        adaptation: version of the gallery's adaptation that it was set for; None: of none.
    """

    similarity: float
    false_alarm_rate: float | None = None
    gallery: int | None = None
    data: str | None = None
    detection_rate: float | None = None
    extrapolated: bool | None = None
    adaptation: str | None = None

    def __str__(self) -> str:
        if self.false_alarm_rate is None:
            return f"threshold {self.similarity:.3f}, as given"
        how = " (extrapolated)" if self.extrapolated else ""
        return (
            f"threshold {self.similarity:.3f}, set for a false alarm rate of "
            f"{self.false_alarm_rate:g} in a gallery of {self.gallery} persons{how}; it finds "
            f"{self.detection_rate:.0%} of those who are there (both by {self.data})"
        )


Thresholds = Callable[[GalleryIndex, Filter], Threshold]
"""By the gallery, and the filter that says which of its persons are searched."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a validation set says about the similarities of a model.

    Attributes:
        model: the :data:`MODEL_FIELDS` of the model.
        data: name of the data set.
        queries, persons, frames: their numbers in the data set.
        false_alarm_rate: default rate, used where the caller gives none.
        curve: thresholds by rate and size.
        adaptation: version of the adaptation whose similarities these are; None: of none.
    """

    model: dict
    data: str
    queries: int
    persons: int
    frames: int
    false_alarm_rate: float
    curve: OpenSetCurve
    adaptation: str | None = None

    def threshold(self, gallery: int, false_alarm_rate: float | None = None) -> Threshold:
        """The threshold for a gallery of that number of persons.

        Raises:
            CalibrationError: the rate is not legal, or no similarity would do.
        """
        rate = self.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
        check_rate(rate)
        similarity = self.curve.threshold(rate, gallery)
        if similarity > 1:
            raise CalibrationError(
                f"{self.queries} queries of {self.data} cannot set a false alarm rate of {rate:g} "
                f"for a gallery of {gallery} persons: ask for a higher rate, narrow the search, or "
                "calibrate on a larger data set"
            )
        return Threshold(
            similarity=similarity,
            false_alarm_rate=rate,
            gallery=gallery,
            data=self.data,
            detection_rate=self.curve.detection_rate(similarity),
            extrapolated=not self.curve.is_counted(rate, gallery),
            adaptation=self.adaptation,
        )

    def save(self, model: GalleryModel) -> Path:
        """Write the file beside the weights; a reader sees the old one or the whole new one."""
        path = calibration_path(model, self.adaptation)
        content = {**vars(self), "curve": self.curve.as_dict()}
        try:
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CalibrationError(f"cannot write {path}: {error.strerror}") from error
        return path

    @classmethod
    def load(
        cls, model: GalleryModel, adaptation: str | None = None, gallery: str = ""
    ) -> "Calibration":
        """The calibration beside the weights.

        Args:
            model: what the gallery was made with; its path is one that the user named.
            adaptation: version of the gallery's adaptation; None: it is not adapted.
            gallery: its address, for the command that an error names.

        Raises:
            CalibrationError: there is none, it cannot be read, or it is of another model or of
                another version.
        """
        path = calibration_path(model, adaptation)
        to_make = "make one with person-search calibrate --data DATASET"
        if adaptation is not None:
            to_make += f" --gallery {gallery}"
        of_version = "" if adaptation is None else f" for version {adaptation} of the adaptation"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = cls(**{**content, "curve": OpenSetCurve.from_dict(content["curve"])})
            theirs = {name: found.model[name] for name in MODEL_FIELDS}
            check_rate(float(found.false_alarm_rate))
            if not isinstance(found.data, str):
                raise TypeError("data must be a text")
            for name in ("queries", "persons", "frames"):
                if type(getattr(found, name)) is not int:
                    raise TypeError(f"{name} must be a whole number")
            if found.adaptation != adaptation:
                raise ValueError(f"it is of version {found.adaptation} of an adaptation")
        except FileNotFoundError:
            raise CalibrationError(
                f"{model.weights} has no calibration{of_version} ({path}): {to_make}"
            ) from None
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            RecursionError,
            CalibrationError,
        ) as error:
            raise CalibrationError(f"{path} is damaged ({error}): {to_make}") from error
        for name, ours in model_fields(model).items():
            if ours != theirs[name]:
                raise CalibrationError(
                    f"{path} is of another model ({name}: {theirs[name]}, yours: {ours}): {to_make}"
                )
        return found


def calibration_path(model: GalleryModel, adaptation: str | None = None) -> Path:
    """``a/model_final.pth`` -> ``a/model_final.calibration.json``; of a pack, in its folder.

    That of version 1f0c93ab of an adaptation is ``a/model_final.1f0c93ab.calibration.json``.
    """
    suffix = ".calibration.json" if adaptation is None else f".{adaptation}.calibration.json"
    if model.kind == "pack":
        folder = Path(model.weights) if os.path.isdir(model.weights) else packs.cache_folder()
        return folder / f"{Path(model.weights).name}{suffix}"
    return Path(model.weights).with_suffix(suffix)


def model_fields(model: GalleryModel) -> dict:
    """What a calibration remembers of its model."""
    return {name: asdict(model)[name] for name in MODEL_FIELDS}


def check_rate(rate: float) -> None:
    """Raises CalibrationError for what is no rate of false alarms."""
    if not 0 < rate <= RATES[0]:
        raise CalibrationError(
            f"the false alarm rate is {rate:g}: give one above 0, up to {RATES[0]:g}"
        )


def fit_calibration(
    results: SearchResults,
    model: GalleryModel,
    data: str,
    false_alarm_rate: float,
    adaptation: GalleryAdaptation | None = None,
) -> tuple[Calibration, OpenSetScores]:
    """Fit thresholds to what a model found in a test set.

    Args:
        results: what it found. The persons of the test set are none that it was trained on.
        model: the model.
        data: name of the test set.
        false_alarm_rate: default rate, used where a search gives none.
        adaptation: of the gallery that is searched. Its transform is applied to what was found,
            with the means of the test set's own cameras: those of the gallery are other ones.

    Returns:
        The calibration, and the similarities that it was fitted to.

    Raises:
        CalibrationError: the rate is not legal, or the results are of another model.
    """
    check_rate(false_alarm_rate)
    if results.query_embs.shape[1] != model.dim:
        raise CalibrationError(
            f"the results hold embeddings of size {results.query_embs.shape[1]}, those of the "
            f"model have {model.dim}: give results of this model"
        )
    if adaptation is not None:
        results = adapt_results(results, model.score_thresh, adaptation.found)
    scores = open_set_scores(results, model.score_thresh)
    calibration = Calibration(
        model=model_fields(model),
        data=data,
        queries=len(results.query_ids),
        persons=len(np.unique(results.query_ids)),
        frames=len(results.frame_names),
        false_alarm_rate=false_alarm_rate,
        curve=fit_open_set(scores),
        adaptation=None if adaptation is None else adaptation.version,
    )
    return calibration, scores


def search_data_set(searcher: Searcher, data: str, progress: bool = False) -> SearchResults:
    """What a model finds in a test set, by the evaluator's loop; needs torch and detectron2.

    Raises:
        ConfigError: no data set has that name, it has no queries, or detectron2 is missing.
    """
    try:
        from detectron2.config import CfgNode

        from person_search.data import check_dataset_names
        from person_search.data.catalog import protocols_of
        from person_search.evaluation import SearchEvaluator, SearchOptions
        from person_search.evaluation.run_searcher import run_searcher
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"data sets need torch and detectron2, and {error.name} is not installed: see "
            "GETTING_STARTED.md, or give the results of an evaluation with --results"
        ) from error
    check_dataset_names(CfgNode({"DATASETS": {"TRAIN": (), "TEST": (data,)}}))
    name, read = next(iter(protocols_of(data).items()))
    options = SearchOptions(score_thresh=searcher.model.score_thresh)
    evaluator = SearchEvaluator(data, {name: read()}, options)
    run_searcher(searcher, evaluator, progress)
    return evaluator.results()[name]
