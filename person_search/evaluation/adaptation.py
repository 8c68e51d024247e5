"""Adapting embeddings to the cameras of a gallery: no labels, no training.

Cameras differ in light and view, and an embedding keeps some of that. Three closed forms take it
out: rows are centered per camera; pairs of rows that probably show one person are found by mutual
nearest neighbors; and directions in which such pairs differ weigh less (within-class covariance
normalization, Hatch et al., Interspeech 2006), as far as there are enough pairs to tell
(Ledoit and Wolf, J. Multivariate Analysis 2004).

Nothing here depends on the axes of the embedding space or on the order of the rows.

Shape shorthand in this module:
    N: rows    D: size of an embedding    C: cameras    P: pairs    G: groups of pairs
"""

import zlib
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .results import SearchResults
from .segments import run_starts, segment_of_row

CAMERA_ROWS = 50
"""A camera's mean counts as much as the gallery's once it has so many rows."""

STRETCH = 10.0
"""Seconds of a film in which two rows are too alike to say how a person's looks change."""

ENOUGH = 20
"""Groups of pairs up to which nothing is changed: they could be a matter of chance."""

ONE_CAMERA = 5
"""So many groups of pairs within cameras tell as much as one that joins two cameras."""

CAUTION = 1.5
"""Factor of the noise-to-signal ratio of Ledoit and Wolf, whose measure is the covariance itself:
its inverse root, which is used here, suffers more from noise. Between 1 and 3 little depends on it.
"""

ROUNDS = 2
"""Pairs are searched again after the first transform, which finds more right ones."""

MAX_PRODUCTS = 100_000_000
"""Similarities that one search for pairs computes; larger galleries search for fewer rows."""

BLOCK = 256


@dataclass(frozen=True, eq=False)
class Adaptation:
    """A transform of embeddings, and what it was fitted on.

    Attributes:
        cameras: (C,) names or numbers, sorted.
        means: (C + 1, D) mean of every camera, then of the gallery, for unknown and new cameras;
            times the strength.
        transform: (D, D) symmetric; the identity where there were too few pairs.
        rows: how many embeddings it was fitted on.
        pairs, groups: of pairs, and of pairs without a row in common.
        shrinkage: share of the covariance of pairs that is a multiple of the identity, 0..1.
        strength: 0: too little to learn from, embeddings stay as they are; toward 1 with more.
    """

    cameras: np.ndarray
    means: np.ndarray
    transform: np.ndarray
    rows: int
    pairs: int
    groups: int
    shrinkage: float
    strength: float

    @property
    def changes(self) -> bool:
        """Whether there was enough to learn from."""
        return self.strength > 0

    def apply(self, embeds: np.ndarray, cameras: np.ndarray) -> np.ndarray:
        """The adapted embeddings, (N, D) float32 of unit length.

        Args:
            embeds: (N, D), unit length, of the gallery or of queries.
            cameras: (N,) where each was seen; the gallery's mean is taken for those that are not
                among :attr:`cameras`.
        """
        embeds = np.asarray(embeds, np.float32)
        if not self.changes or not len(embeds):
            return embeds
        if len(self.cameras):
            place = np.searchsorted(self.cameras, cameras).clip(max=len(self.cameras) - 1)
            place = np.where(self.cameras[place] == cameras, place, len(self.cameras))
        else:
            place = np.zeros(len(embeds), np.int64)
        centered = _unit(embeds - self.means[place].astype(np.float32))
        return _unit(centered @ self.transform.astype(np.float32))

    def at_cameras(self, embeds: np.ndarray, cameras: np.ndarray) -> "Adaptation":
        """The same transform with the means of other cameras, those of (N, D) other rows."""
        names, camera = np.unique(cameras, return_inverse=True)
        means = _camera_means(embeds, camera, len(names))
        return replace(self, cameras=names, means=self.strength * means)

    def describe(self) -> str:
        """What it was fitted on, in one line."""
        fitted = f"{self.rows} rows, {len(self.cameras)} cameras, {self.pairs} pairs"
        if not self.changes:
            return f"nothing is changed: too few pairs of one person to learn from ({fitted})"
        return (
            f"adapted on the gallery, no labels ({fitted}, "
            f"shrinkage {self.shrinkage:.2f}, strength {self.strength:.2f})"
        )

    def arrays(self) -> dict[str, Any]:
        """All of it, to be saved; :meth:`from_arrays` reads it."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Adaptation":
        """The adaptation that :meth:`arrays` gave; KeyError or ValueError for anything else."""
        values = {f.name: arrays[f.name] for f in fields(cls)}
        cameras, means, transform = (values.pop(n) for n in ("cameras", "means", "transform"))
        dim = means.shape[-1] if means.ndim else 0
        if cameras.ndim != 1 or cameras.dtype.kind not in "Uiu":
            raise ValueError("cameras must be names or numbers")
        for name, value, shape in (
            ("means", means, (len(cameras) + 1, dim)),
            ("transform", transform, (dim, dim)),
        ):
            if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite numbers of shape {shape}")
        for name, value in values.items():
            kinds = "iuf" if name in ("shrinkage", "strength") else "iu"
            if value.shape or value.dtype.kind not in kinds or not np.isfinite(value):
                raise ValueError(f"{name} must be one number")
        return cls(cameras, means, transform, **{n: v.item() for n, v in values.items()})


def fit_adaptation(
    embeds: np.ndarray,
    cameras: np.ndarray,
    films: np.ndarray,
    seconds: np.ndarray | None = None,
    known_pairs: np.ndarray | None = None,
) -> Adaptation:
    """Fit an adaptation to the rows of a gallery.

    Args:
        embeds: (N, D), unit length.
        cameras: (N,) names or numbers.
        films: (N,) the picture or film of each row. Rows of one picture are different persons.
        seconds: (N,) where in its film each row is; None: every film is one picture.
        known_pairs: (P, 2) rows that show one person for certain, or None.
    """
    embeds = np.asarray(embeds, np.float32)
    seconds = np.zeros(len(embeds)) if seconds is None else np.asarray(seconds, np.float64)
    names, camera = np.unique(cameras, return_inverse=True)
    film = np.unique(films, return_inverse=True)[1]
    known = np.zeros((0, 2), np.int64) if known_pairs is None else np.asarray(known_pairs)
    means = _camera_means(embeds, camera, len(names))
    centered = _unit(embeds - means.astype(np.float32)[camera])
    transform = np.eye(embeds.shape[1])
    shrinkage, strength, groups, pairs = 1.0, 0.0, 0, known
    for _ in range(ROUNDS):
        looks = _unit(centered @ transform.astype(np.float32))
        pairs = np.unique(np.vstack([known, _find_pairs(looks, camera, film, seconds)]), axis=0)
        group = _group(pairs, len(embeds))
        groups = len(np.unique(group))
        strength = _strength(group, camera[pairs[:, 0]] != camera[pairs[:, 1]])
        if not strength:
            break
        differences = (centered[pairs[:, 0]] - centered[pairs[:, 1]]).astype(np.float64)
        covariance, shrinkage = shrunk_covariance(differences / np.sqrt(2), group)
        transform = _inverse_root(covariance)
    return Adaptation(
        cameras=names,
        means=strength * means,
        transform=(1 - strength) * np.eye(len(transform)) + strength * transform,
        rows=len(embeds),
        pairs=len(pairs),
        groups=groups,
        shrinkage=shrinkage,
        strength=strength,
    )


def adapt_results(
    results: SearchResults, det_thresh: float = 0.5, adaptation: Adaptation | None = None
) -> SearchResults:
    """The results with embeddings that are adapted to the gallery, fitted without any label.

    It is fitted on the detections of all frames, those of the queries' own frames among them, as a
    gallery that is searched would be. No box or identity of the ground truth plays a part.

    Args:
        results: of any model.
        det_thresh: detections with a lower score are not searched, and not fitted on.
        adaptation: of another gallery, whose transform is taken; None: fit one to the results.
    """
    frame = segment_of_row(results.det_offsets)
    kept = results.dets[:, 4] >= det_thresh
    embeds, cameras = results.det_embs[kept], results.frame_cam[frame[kept]]
    if adaptation is None:
        found = fit_adaptation(embeds, cameras, frame[kept])
    else:
        found = adaptation.at_cameras(embeds, cameras)
    gt_embs, qctx_embs = results.gt_embs, results.qctx_embs
    if gt_embs is not None:
        gt_embs = found.apply(gt_embs, results.frame_cam[segment_of_row(results.gt_offsets)])
    if qctx_embs is not None and results.qctx_offsets is not None:
        qctx_embs = found.apply(qctx_embs, results.query_cam[segment_of_row(results.qctx_offsets)])
    return replace(
        results,
        det_embs=found.apply(results.det_embs, results.frame_cam[frame]),
        query_embs=found.apply(results.query_embs, results.query_cam),
        gt_embs=gt_embs,
        qctx_embs=qctx_embs,
        adapted=found.describe(),
    )


def _camera_means(embeds: np.ndarray, camera: np.ndarray, n_cameras: int) -> np.ndarray:
    """(C + 1, D) means of the cameras, then of all rows.

    A mean of few rows is that of a few persons, so it borrows CAMERA_ROWS rows of the gallery's:
    with a gallery mean of 0, the mean .8 of 150 rows becomes .6, and that of 50 rows .4.
    """
    if not len(embeds):
        return np.zeros((1, embeds.shape[1]))
    of_all = embeds.mean(axis=0, dtype=np.float64)
    sums = np.stack([embeds[camera == n].sum(axis=0, dtype=np.float64) for n in range(n_cameras)])
    numbers = np.bincount(camera, minlength=n_cameras)[:, None]
    return np.vstack([(sums + CAMERA_ROWS * of_all) / (numbers + CAMERA_ROWS), of_all])


def _find_pairs(
    looks: np.ndarray, camera: np.ndarray, film: np.ndarray, seconds: np.ndarray
) -> np.ndarray:
    """(P, 2) rows, smaller one first, that are mutual nearest neighbors with a cosine above 0.

    Of the rows of other cameras, and of those of the own camera; never of one picture. Where the
    nearest neighbor stands in the same stretch of a film, the row has no pair in its camera: that
    one is too alike, and the next one may be another person.
    """
    # Rows of one camera stand together, and among them those of one picture: then they are ranges.
    order = np.lexsort((seconds, film, camera))
    looks = np.ascontiguousarray(looks[order], np.float32)
    camera, film, seconds = camera[order], film[order], seconds[order]
    number = len(looks) if len(looks) ** 2 <= MAX_PRODUCTS else MAX_PRODUCTS // len(looks)
    rows = _sample(looks, number)
    nearest = np.full((len(looks), 2), -1)  # row -> its nearest in other cameras, in its own
    nearest[rows] = _nearest(rows, looks, camera, film, seconds)
    partners = np.setdiff1d(nearest[rows], [-1, *rows])
    nearest[partners] = _nearest(partners, looks, camera, film, seconds)
    found = []
    for column in nearest.T:
        mine = rows[column[rows] >= 0]
        mine = mine[column[column[mine]] == mine]
        found.append(np.column_stack([mine, column[mine]]))
    pairs = np.vstack(found)
    first, second = pairs.T
    same_stretch = film[first] == film[second]
    same_stretch &= np.abs(seconds[first] - seconds[second]) < STRETCH
    return np.sort(order[pairs[~same_stretch]], axis=1)


def _sample(looks: np.ndarray, number: int) -> np.ndarray:
    """``number`` rows, chosen by what they hold, so that their order plays no part."""
    if number >= len(looks):
        return np.arange(len(looks))
    marks = np.array([zlib.crc32(row.tobytes()) for row in looks])
    return np.sort(np.argsort(marks, kind="stable")[:number])


def _nearest(
    rows: np.ndarray,
    looks: np.ndarray,
    camera: np.ndarray,
    film: np.ndarray,
    seconds: np.ndarray,
) -> np.ndarray:
    """(n, 2) the most similar row of another camera, and of the own one, for each of (n,) rows.

    -1 where there is none in another picture with a cosine above 0. Rows are sorted, by camera
    first, and by picture (film and second) within a camera.
    """
    starts = run_starts(camera, film, seconds)
    bounds = np.append(starts, len(camera))
    place = np.searchsorted(starts, rows, "right") - 1
    nearest = np.full((len(rows), 2), -1)
    for number in np.unique(camera[rows]):
        low, high = np.searchsorted(camera, [number, number + 1])
        mine = np.flatnonzero(camera[rows] == number)
        for some in np.split(mine, range(BLOCK, len(mine), BLOCK)):
            similarity = looks[rows[some]] @ looks.T
            for line, picture in enumerate(place[some]):
                similarity[line, bounds[picture] : bounds[picture + 1]] = 0.0
            nearest[some, 1] = _best(similarity[:, low:high], low)
            similarity[:, low:high] = 0.0
            nearest[some, 0] = _best(similarity, 0)
    return nearest


def _best(similarity: np.ndarray, first: int) -> np.ndarray:
    """The column of the largest value of each row, counted from ``first``; -1 if it is not > 0."""
    best = similarity.argmax(axis=1)
    found = similarity[np.arange(len(similarity)), best] > 0
    return np.where(found, best + first, -1)


def _group(pairs: np.ndarray, n_rows: int) -> np.ndarray:
    """(P,) a number that pairs share if a chain of common rows joins them.

    0-1, 1-4 and 2-3 are two groups.
    """
    ones = np.ones(len(pairs))
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(n_rows, n_rows))
    return connected_components(graph, directed=False)[1][pairs[:, 0]]


def _strength(group: np.ndarray, joins_cameras: np.ndarray) -> float:
    """How far to go, 0..1, by what the pairs tell.

    32 groups that join cameras and 40 that do not count as 40: 1 - (20 / 40)^2 = .75.

    Args:
        group: (P,) of each pair.
        joins_cameras: (P,) whether its rows are of two cameras.
    """
    joining = len(np.unique(group[joins_cameras]))
    evidence = joining + (len(np.unique(group)) - joining) / ONE_CAMERA
    return 1 - (ENOUGH / evidence) ** 2 if evidence > ENOUGH else 0.0


def shrunk_covariance(differences: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean of x x^T, drawn toward a multiple of the identity as far as it is noise.

    Ledoit and Wolf's estimate of the noise, with groups in the place of samples, since pairs with a
    row in common are not independent.

        x = (2, 0), (1, 0), each a group of its own: the mean S is diag(2.5, 0), the identity's
        multiple 1.25 I. Signal and noise: |S - 1.25 I|^2 = 3.125. Noise: the groups are off S by
        1.5 each, (1.5^2 + 1.5^2) / 2^2 = 1.125, times 2 / (2 - 1): 2.25. So 1.5 * 2.25 of noise
        stand against 0.875 of signal, and the identity gets a share of 3.375 / 4.25 = 0.794.

    Args:
        differences: (P, D).
        group: (P,) of each.

    Returns:
        (D, D) with the same trace, and the share of the identity.
    """
    covariance = differences.T @ differences / len(differences)
    target = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    both = ((covariance - target) ** 2).sum()
    numbers = np.unique(group, return_inverse=True)[1]
    n_groups = numbers.max() + 1
    if n_groups < 2 or both <= 1e-12 * np.trace(target) ** 2:
        return target, 1.0
    noise = 0.0
    for rows in _split(numbers):
        own = differences[rows]
        # |A - n S|^2 = |A|^2 - 2 n <A, S> + n^2 |S|^2 with A the sum of x x^T over the group.
        products = ((own @ own.T) ** 2).sum()
        with_mean = ((own @ covariance) * own).sum()
        noise += products - 2 * len(own) * with_mean + len(own) ** 2 * (covariance**2).sum()
    noise *= n_groups / (n_groups - 1) / len(differences) ** 2
    signal = max(both - noise, 0.0)
    share = float(CAUTION * noise / (CAUTION * noise + signal))
    return share * target + (1 - share) * covariance, share


def _split(numbers: np.ndarray) -> list[np.ndarray]:
    """The rows of every number: 1 0 1 -> [1], [0 2]."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    """S^(-1/2) of a symmetric matrix, scaled to the trace D; the identity where S is 0."""
    values, vectors = np.linalg.eigh(covariance)
    if values[-1] <= 0:
        return np.eye(len(covariance))
    values = np.maximum(values / values[-1], 1e-6)
    scales = 1 / np.sqrt(values)
    return (vectors * (scales / scales.mean())) @ vectors.T


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
