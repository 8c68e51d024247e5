"""Search over the number of boxes per image: how strict the detector should be.

Each point of a curve keeps fewer detections than the one before. Persons whose detections were
dropped count as missed.

Shape shorthand in this module:
    F: frames    N: detections    S: points of the sweep
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .galleries import Conventions, resolve_galleries
from .metrics import evaluate_search
from .results import SearchResults
from .segments import segment_of_row


@dataclass(frozen=True, eq=False)
class Sweep:
    """Which detections each point keeps; the first point keeps the most.

    Attributes:
        last_point: (N,) number of points that keep a detection: it is in the points below this one.
        n_points: S.
    """

    last_point: np.ndarray
    n_points: int

    @classmethod
    def over_thresholds(cls, results: SearchResults, thresholds: np.ndarray) -> "Sweep":
        """One point per detection score, lowest first; it keeps detections of at least that score.

        scores .5 .9, thresholds .5 .6 .95  ->  last_point 1 2: nothing is left in point 2
        """
        scores = results.dets[:, 4]
        return cls(np.searchsorted(np.sort(thresholds), scores, "right"), len(thresholds))

    @classmethod
    def even_scores(cls, results: SearchResults) -> "Sweep":
        """31 thresholds, evenly spaced from the lowest to the highest score."""
        scores = results.dets[:, 4]
        return cls.over_thresholds(results, np.linspace(scores.min(), scores.max(), 31))

    @classmethod
    def even_counts(cls, results: SearchResults) -> "Sweep":
        """30 thresholds that each drop the same number of detections more."""
        scores = np.sort(results.dets[:, 4])
        dropped = np.arange(30) * (len(scores) // 30) - 1
        return cls.over_thresholds(results, scores[dropped.clip(min=0)])

    @classmethod
    def best_of_frame(cls, results: SearchResults) -> "Sweep":
        """The k best detections of every frame, for every k, largest first.

        one frame with scores .5 .9 .7  ->  last_point 1 3 2: the second is in all three points
        """
        frame = segment_of_row(results.det_offsets)
        order = np.lexsort((-results.dets[:, 4], frame))
        rank = np.empty(len(frame), np.int64)
        rank[order] = np.arange(len(frame)) - results.det_offsets[frame[order]]
        n_points = int(rank.max(initial=-1)) + 1
        return cls(n_points - rank, n_points)

    @property
    def sizes(self) -> np.ndarray:
        """(S,) number of detections that each point keeps."""
        return np.count_nonzero(self.last_point > np.arange(self.n_points)[:, None], axis=1)


SWEEPS = {
    "scores": Sweep.even_scores,
    "counts": Sweep.even_counts,
    "best": Sweep.best_of_frame,
}
"""The sweeps that the literature uses, by name."""


@dataclass(frozen=True, eq=False)
class SweepCurves:
    """Metrics over the number of boxes per image.

    Attributes:
        boxes_per_image: (S,) detections left per frame.
        metrics: name -> (S,), shares of 1.
        protocol: what was evaluated, in words.
    """

    boxes_per_image: np.ndarray
    metrics: Mapping[str, np.ndarray]
    protocol: str

    def best(self) -> dict[str, tuple[float, float]]:
        """For every metric its maximum and the boxes per image where that occurs."""
        return {
            name: (float(curve.max()), float(self.boxes_per_image[curve.argmax()]))
            for name, curve in self.metrics.items()
        }

    def at(self, boxes_per_image: float) -> dict[str, tuple[float, float]]:
        """For every metric its value at the nearest point, and the boxes per image there."""
        nearest = np.abs(self.boxes_per_image - boxes_per_image).argmin()
        there = float(self.boxes_per_image[nearest])
        return {name: (float(curve[nearest]), there) for name, curve in self.metrics.items()}


def search_curves(
    results: SearchResults, sweep: Sweep, conventions: Conventions = Conventions.CORRECTED
) -> SweepCurves:
    """The common search protocol, with the gallery of the file, at every point of a sweep."""
    galleries = resolve_galleries(results, conventions=conventions)
    points = []
    for point in range(sweep.n_points):
        kept = results.with_detections(sweep.last_point > point)
        summary = evaluate_search(kept, galleries, det_thresh=-np.inf).summary()
        points.append([summary["mAP"], summary["top1"], summary["top10"]])
    metrics = dict(zip(("mAP", "top-1", "top-10"), np.array(points).T, strict=True))
    protocol = f"{results.protocol or 'unnamed protocol'}; gallery: {galleries.rule}"
    return SweepCurves(sweep.sizes / len(results.frame_names), metrics, protocol)
