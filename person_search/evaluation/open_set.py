"""Open-set search: is the person in the gallery at all?

A search for somebody who is absent is a false alarm if the most similar box of the gallery reaches
the threshold all the same; the share of such searches is the false alarm rate (FPIR in ISO/IEC
19795-1). The detection rate (TPIR) is the share of searches for present persons in which a box of
theirs, at whatever rank, reaches it. (Phillips, Grother and Micheals, Handbook of Face Recognition,
chapter "Evaluation Methods in Face Recognition".)

The rate belongs to a size of the gallery: the more strangers, the more similar the best of them.
Each query is searched in the frames that do not show its person, which hold M boxes of strangers.

* In a gallery of n <= M of them, drawn at random, the j-th most similar one is the best with the
  probability C(M - j, n - 1) / C(M, n). The mean rate over all such galleries follows without any
  assumption.
* For n > M the rate is at most 1 - (1 - rate at M)^(n / M) if every query meets ever more strangers
  of its kind (Jensen: some queries have many doubles, and their mean is below the power of the
  mean). The threshold is set for that bound.
* Where fewer than :data:`TAIL` queries reach a threshold, their number says little: the rate is
  taken to fall exponentially there, as fast as the mean excess of the highest tenth says. In the
  mean this errs upwards, since similarities end at 1.

Shape shorthand in this module:
    Q: queries    P: queries whose person is present    K: boxes that are kept of each query
    S: sizes of galleries    R: rates
"""

from dataclasses import dataclass, fields

import numpy as np

from ..errors import ResultsError
from ..protocols import GalleryRule
from .galleries import resolve_galleries
from .metrics import kept_detections, overlapping_pairs, similarity_rows, true_positives
from .results import SearchResults
from .segments import most_similar, segment_of_row

TAIL = 10
"""So many queries have to reach a threshold for their number to be taken as it is."""

TAIL_RATE = 0.1
"""The tail is fitted to what is above the threshold of this rate, but at least to so many."""

FEWEST = 2 * TAIL
"""So many queries are needed at least."""

KEPT = 1024
"""So many of the most similar strangers of each query decide."""

SMALLEST_SHARE = 128
"""Galleries are looked at down to this part of M: the best of smaller ones is not always kept."""

RATES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)
COMMON = 0.95
"""M is the number of strangers that this share of the queries has; the others are left out."""


@dataclass(frozen=True, eq=False)
class OpenSetScores:
    """What queries find when their person is absent, and when present.

    Attributes:
        strangers: (Q, K) similarities of the boxes in frames without the person, falling; -inf
            where there are fewer than K.
        n_strangers: (Q,) how many there are, kept or not.
        persons: (Q,) who is looked for.
        own: (P,) the best similarity of the person's boxes; -inf where none was detected.
    """

    strangers: np.ndarray
    n_strangers: np.ndarray
    persons: np.ndarray
    own: np.ndarray

    def __getitem__(self, queries: np.ndarray) -> "OpenSetScores":
        """Some of the queries, with ``own`` as it is."""
        return OpenSetScores(
            self.strangers[queries], self.n_strangers[queries], self.persons[queries], self.own
        )


def open_set_scores(results: SearchResults, det_thresh: float = 0.5) -> OpenSetScores:
    """Search every query among all frames but its own, whatever the protocol's galleries are.

    Args:
        results: detections and queries.
        det_thresh: detections with a lower score are not searched.
    """
    galleries = resolve_galleries(results, GalleryRule.OTHER_FRAMES)
    found = kept_detections(results, det_thresh)
    frame = segment_of_row(found.offsets)
    pair_target, pair_det = overlapping_pairs(galleries, found)
    pair_bounds = np.searchsorted(pair_target, galleries.target_offsets)
    n_queries = len(results.query_ids)
    strangers = np.full((n_queries, KEPT), -np.inf)
    n_strangers, own = np.zeros(n_queries, np.int64), []
    for q, row in similarity_rows(results.query_embs, galleries, found):
        targets = slice(*galleries.target_offsets[q : q + 2])
        pairs = slice(*pair_bounds[q : q + 2])
        if galleries.n_targets[q]:
            dets = true_positives(row, pair_target[pairs], pair_det[pairs])
            own.append(row[dets].max(initial=-np.inf))
        shows = np.zeros(len(results.frame_names), bool)
        shows[galleries.target_frames[targets]] = True
        row[shows[frame]] = -np.inf
        best = row[most_similar(row, KEPT)]
        strangers[q, : len(best)] = best
        n_strangers[q] = np.count_nonzero(row > -np.inf)
    return OpenSetScores(strangers, n_strangers, results.query_ids, np.array(own, np.float64))


def false_alarm_rate(scores: OpenSetScores, threshold: float, size: int) -> float:
    """Mean share of false alarms over all galleries of ``size`` strangers, at most those there are.

    Exact as long as the :data:`KEPT` most similar strangers hold the best one of the gallery.
    """
    weights = _best_of(scores, size)
    return float((weights * (scores.strangers >= threshold)).sum() / len(weights))


def _best_of(scores: OpenSetScores, size: int) -> np.ndarray:
    """(Q, K) probability that a stranger is the best of a gallery of ``size``."""
    there = scores.n_strangers[:, None].astype(np.float64)
    rank = np.arange(1, scores.strangers.shape[1])
    sizes = np.minimum(size, there)
    # C(M - j - 1, n - 1) / C(M - j, n - 1)
    ratios = (there - rank - sizes + 1).clip(min=0) / (there - rank).clip(min=1)
    first = np.divide(sizes, there, out=np.zeros_like(there), where=there > 0)
    return np.hstack([first, first * np.cumprod(ratios, axis=1)])


@dataclass(frozen=True, eq=False)
class OpenSetCurve:
    """Thresholds by rate of false alarms and size of the gallery.

    Attributes:
        sizes: (S,) persons in a gallery, rising; the last one is M.
        rates: (R,) false alarm rates, falling; the last one is the smallest that was counted.
        thresholds: (S, R) the lowest similarity that keeps to the rate.
        tails: (S,) below the last rate, how far the threshold rises while the rate falls to 1/e.
        own: (101,) percentiles of the best similarity of present persons; -1: not detected.
    """

    sizes: np.ndarray
    rates: np.ndarray
    thresholds: np.ndarray
    tails: np.ndarray
    own: np.ndarray

    def threshold(self, rate: float, size: int) -> float:
        """What similarity is enough; above 1 where none is.

        Args:
            rate: of false alarms, in (0, 0.5].
            size: persons in the gallery. Fewer than the smallest size count as that.
        """
        rate, measured = self._at_measured_size(rate, size)
        counted = np.log(max(rate, self.rates[-1]))
        rising = np.log(self.rates[::-1])
        of_size = np.array([np.interp(counted, rising, row[::-1]) for row in self.thresholds])
        of_size += self.tails * max(0.0, np.log(self.rates[-1] / rate))
        # Tails may cross, but a smaller gallery never needs more.
        of_size = np.minimum.accumulate(of_size[::-1])[::-1]
        return float(np.interp(np.log(max(measured, 1)), np.log(self.sizes), of_size))

    def is_counted(self, rate: float, size: int) -> bool:
        """Whether enough queries reached the threshold to count them, at a size that was there."""
        return size <= self.sizes[-1] and rate >= self.rates[-1]

    def detection_rate(self, threshold: float) -> float:
        """Share of the present persons that are found at that threshold."""
        return float(1 - np.interp(threshold, self.own, np.linspace(0, 1, len(self.own))))

    def _at_measured_size(self, rate: float, size: int) -> tuple[float, float]:
        largest = self.sizes[-1]
        if size <= largest:
            return rate, size
        return -np.expm1(np.log1p(-rate) * largest / size), largest

    def as_dict(self) -> dict:
        """For JSON."""
        return {f.name: getattr(self, f.name).tolist() for f in fields(self)}

    @classmethod
    def from_dict(cls, content: dict) -> "OpenSetCurve":
        """The inverse; raises KeyError, TypeError or ValueError for anything else."""
        curve = cls(**{f.name: np.asarray(content[f.name], np.float64) for f in fields(cls)})
        sizes, rates = len(np.atleast_1d(curve.sizes)), len(np.atleast_1d(curve.rates))
        shapes = {"sizes": (sizes,), "rates": (rates,), "tails": (sizes,), "own": (101,)}
        for name, shape in (shapes | {"thresholds": (sizes, rates)}).items():
            values = getattr(curve, name)
            if values.shape != shape or not values.size or not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite numbers of shape {shape}")
        if curve.sizes[0] < 1 or (np.diff(curve.sizes) <= 0).any():
            raise ValueError("sizes must rise from 1 or more")
        if curve.rates[0] >= 1 or curve.rates[-1] <= 0 or (np.diff(curve.rates) >= 0).any():
            raise ValueError("rates must fall, and lie between 0 and 1")
        return curve


def fit_open_set(scores: OpenSetScores) -> OpenSetCurve:
    """The thresholds for every rate and size that the queries allow.

    Raises:
        ResultsError: there are too few queries, or nobody else in the frames.
    """
    if len(scores.persons) < FEWEST:
        raise ResultsError(
            f"{len(scores.persons)} queries say too little about false alarms: give a data set "
            f"with {FEWEST} or more"
        )
    largest = int(np.quantile(scores.n_strangers, 1 - COMMON, method="lower"))
    if largest < 1:
        raise ResultsError("the frames without a query's person show nobody: no false alarm occurs")
    scores = scores[scores.n_strangers >= largest]
    fewest_counted = TAIL / len(scores.persons)
    rates = np.array([rate for rate in RATES if rate > fewest_counted] + [fewest_counted])
    smallest = max(1, -(-largest // SMALLEST_SHARE))
    sizes = np.unique(np.geomspace(smallest, largest, 8).round().astype(np.int64))

    values = scores.strangers.ravel()
    order = np.argsort(-values)
    values, thresholds, tails = values[order], [], []
    for size in sizes:
        weights = _best_of(scores, size).ravel()[order] / len(scores.persons)
        # The first value that would be one too many; the threshold is just above it.
        beyond = np.searchsorted(weights.cumsum(), rates, "right").clip(max=len(values) - 1)
        thresholds.append(np.nextafter(values[beyond], np.inf))
        begin = thresholds[-1][rates <= max(TAIL_RATE, rates[-1])][0]
        above = values >= begin
        excess = (weights[above] * (values[above] - begin)).sum()
        tails.append(excess / max(weights[above].sum(), np.finfo(float).tiny))
    return OpenSetCurve(
        sizes=sizes,
        rates=rates,
        thresholds=np.array(thresholds),
        tails=np.array(tails),
        own=_percentiles(scores.own),
    )


def held_out_rate(scores: OpenSetScores, rate: float, size: int) -> float:
    """The false alarm rate that comes out for persons on whom the threshold was not fitted.

    The threshold for ``rate`` is fitted on the queries of one half of the persons, and false alarms
    are counted for the other half; and the other way round. NaN where a half is too small for that.
    """
    first_half = np.unique(scores.persons)[::2]
    fitted, rates = np.isin(scores.persons, first_half), []
    if min(fitted.sum(), (~fitted).sum()) < FEWEST:
        return float("nan")
    for half in (fitted, ~fitted):
        threshold = fit_open_set(scores[half]).threshold(rate, size)
        rates.append(false_alarm_rate(scores[~half], threshold, size))
    return float(np.mean(rates))


def _percentiles(own: np.ndarray) -> np.ndarray:
    """(101,), all -1 without anybody."""
    if len(own) == 0:
        return np.full(101, -1.0)
    return np.percentile(np.maximum(own, -1.0), np.arange(101))
