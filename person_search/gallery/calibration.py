"""From a similarity to a decision: is the person in the gallery at all?

A calibration is a small JSON file beside the weights, ``model_final.calibration.json``, that the
command ``calibrate`` writes. It says what similarity is enough in a gallery of a given size for a
given rate of false alarms (:mod:`person_search.evaluation.open_set`).
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from person_search import packs
from person_search.errors import CalibrationError
from person_search.evaluation import (
    RATES,
    OpenSetCurve,
    OpenSetScores,
    SearchResults,
    dataset_arrays,
    fit_open_set,
    open_set_scores,
)
from person_search.evaluation.segments import lengths_to_offsets
from person_search.files import atomic_write
from person_search.images import read_image
from person_search.structures import GalleryModel, Searcher

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
    """

    similarity: float
    false_alarm_rate: float | None = None
    gallery: int | None = None
    data: str | None = None
    detection_rate: float | None = None
    extrapolated: bool | None = None

    def __str__(self) -> str:
        if self.false_alarm_rate is None:
            return f"threshold {self.similarity:.3f}, as given"
        how = " (extrapolated)" if self.extrapolated else ""
        return (
            f"threshold {self.similarity:.3f}, set for a false alarm rate of "
            f"{self.false_alarm_rate:g} in a gallery of {self.gallery} persons{how}; it finds "
            f"{self.detection_rate:.0%} of those who are there (both by {self.data})"
        )


Thresholds = Callable[[int], Threshold]
"""By the number of persons that are searched."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a validation set says about the similarities of a model.

    Attributes:
        model: the :data:`MODEL_FIELDS` of the model.
        data: name of the data set.
        queries, persons, frames: their numbers in the data set.
        false_alarm_rate: default rate, used where the caller gives none.
        curve: thresholds by rate and size.
    """

    model: dict
    data: str
    queries: int
    persons: int
    frames: int
    false_alarm_rate: float
    curve: OpenSetCurve

    def threshold(self, gallery: int, false_alarm_rate: float | None = None) -> Threshold:
        """For a gallery of so many persons.

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
        )

    def save(self, model: GalleryModel) -> Path:
        """Write the file beside the weights; a reader sees the old one or the whole new one."""
        path = calibration_path(model)
        content = {**vars(self), "curve": self.curve.as_dict()}
        try:
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CalibrationError(f"cannot write {path}: {error.strerror}") from error
        return path

    @classmethod
    def load(cls, model: GalleryModel) -> "Calibration":
        """The calibration beside the weights.

        Args:
            model: what the gallery was made with; its path is one that the user named.

        Raises:
            CalibrationError: there is none, it cannot be read, or it is of another model.
        """
        path = calibration_path(model)
        to_make = "make one with person-search calibrate --data DATASET"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = cls(**{**content, "curve": OpenSetCurve.from_dict(content["curve"])})
            theirs = {name: found.model[name] for name in MODEL_FIELDS}
        except FileNotFoundError:
            raise CalibrationError(
                f"{model.weights} has no calibration ({path}): {to_make}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"{path} is damaged ({error}): {to_make}") from error
        for name, ours in model_fields(model).items():
            if ours != theirs[name]:
                raise CalibrationError(
                    f"{path} is of another model ({name}: {theirs[name]}, yours: {ours}): {to_make}"
                )
        return found


def calibration_path(model: GalleryModel) -> Path:
    """``a/model_final.pth`` -> ``a/model_final.calibration.json``; of a pack, in its folder."""
    if model.kind == "pack":
        folder = Path(model.weights) if os.path.isdir(model.weights) else packs.cache_folder()
        return folder / f"{Path(model.weights).name}.calibration.json"
    return Path(model.weights).with_suffix(".calibration.json")


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
    searcher: Searcher, data: str, false_alarm_rate: float, progress: bool = False
) -> tuple[Calibration, OpenSetScores]:
    """Search a validation set with the model, and fit thresholds to what is found.

    Args:
        searcher: the model.
        data: name of a test set with queries, whose persons the model was not trained on.
        false_alarm_rate: default rate, used where a search gives none.
        progress: show a bar.

    Returns:
        The calibration, and the similarities that it was fitted to.
    """
    check_rate(false_alarm_rate)
    results = search_data_set(searcher, data, progress)
    scores = open_set_scores(results, searcher.model.score_thresh)
    calibration = Calibration(
        model=model_fields(searcher.model),
        data=data,
        queries=len(results.query_ids),
        persons=len(np.unique(results.query_ids)),
        frames=len(results.frame_names),
        false_alarm_rate=false_alarm_rate,
        curve=fit_open_set(scores),
    )
    return calibration, scores


def search_data_set(searcher: Searcher, data: str, progress: bool = False) -> SearchResults:
    """What a model finds in a test set on the way that a user's pictures and queries go.

    Raises:
        ConfigError: no data set has that name, or it has no queries.
    """
    from detectron2.config import CfgNode
    from detectron2.data import DatasetCatalog

    from person_search.data import check_dataset_names
    from person_search.data.catalog import protocols_of

    check_dataset_names(CfgNode({"DATASETS": {"TRAIN": (), "TEST": (data,)}}))
    protocol = next(iter(protocols_of(data).values()))()
    frames = DatasetCatalog.get(data)
    query_embeds = np.zeros((len(protocol.query_ids), searcher.model.dim), np.float32)
    found = []
    for index, frame in enumerate(tqdm(frames, unit=" frames", disable=not progress)):
        image = read_image(frame["file_name"])
        found += searcher.detect([image])
        queries = np.flatnonzero(protocol.query_frames == index)
        if len(queries):
            query_embeds[queries] = searcher.embed(image, protocol.query_boxes[queries])
    return SearchResults(
        **dataset_arrays(frames, protocol),
        det_offsets=lengths_to_offsets([len(persons) for persons in found]),
        dets=np.concatenate([np.column_stack([p.boxes, p.scores]) for p in found]),
        det_embs=np.concatenate([persons.embeds for persons in found]),
        query_embs=query_embeds,
    )
