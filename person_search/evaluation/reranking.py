"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) of what a query found first.

Two boxes that show one person are near each other from both sides and share their neighbors. The
distance of the query to each of its most similar detections is mixed with how far their sets of
k-reciprocal neighbors differ. All is computed among the query and those detections, so a query is
judged by its own gallery alone, and the cost does not grow with the gallery.

Shape shorthand in this module:
    N: detections of all frames; M: the query and its most similar detections; d: embedding size
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .segments import most_similar


@dataclass(frozen=True)
class KReciprocal:
    """How far re-ranking looks; the values of the paper.

    Attributes:
        k1: neighbors that may be k-reciprocal.
        k2: nearest neighbors whose sets are averaged; 1: none but its own.
        weight: of the original distance (lambda of the paper), the rest is the Jaccard distance.
        n_top: how many of the most similar detections are re-ranked; the others stay behind them.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3
    n_top: int = 1000


def rerank_k_reciprocal(
    similarity: np.ndarray, query: np.ndarray, embeddings: np.ndarray, options: KReciprocal
) -> None:
    """Replace, in place, the similarities of one query by those after re-ranking.

    Args:
        similarity: (N,) of the query, -inf outside of its gallery.
        query: (d,) its embedding.
        embeddings: (N, d) of all detections.
        options: see there.
    """
    top = most_similar(similarity, options.n_top)
    if len(top) == 0:
        return
    nearest = np.vstack([query, embeddings[top]])
    # Behind the re-ranked ones, whose values lie in [0, 1], in the order they had.
    similarity -= np.max(similarity) + 1.0
    similarity[top] = 1.0 - k_reciprocal_distance(nearest, options)


def k_reciprocal_distance(embeddings: np.ndarray, options: KReciprocal) -> np.ndarray:
    """(M - 1,) distances in [0, 1] of the first row of (M, d) embeddings to the others."""
    embeddings = np.asarray(embeddings, np.float32)
    squares = np.einsum("md,md->m", embeddings, embeddings)
    distance = squares[:, None] + squares - 2 * embeddings @ embeddings.T
    np.fill_diagonal(distance, 0.0)
    distance = distance.clip(min=0)
    distance /= np.maximum(distance.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    ranks = _nearest(distance, max(options.k1 + 1, options.k2))
    sets = _expanded(ranks, options.k1)
    weights = _weights(sets, distance)
    if options.k2 > 1:
        weights = _mean_of(weights, ranks[:, : options.k2])
    own = weights[[0]].toarray()[0]
    used = np.flatnonzero(own)
    shared = np.minimum(weights[1:, used].toarray(), own[used]).sum(axis=1)
    jaccard = 1.0 - shared / (2.0 - shared)
    return (1 - options.weight) * jaccard + options.weight * distance[0, 1:]


def _nearest(distance: np.ndarray, number: int) -> np.ndarray:
    """(M, number) columns of the smallest entries of each row, itself first, nearest first."""
    number = min(number, len(distance))
    found = np.argpartition(distance, number - 1, axis=1)[:, :number]
    found.sort(axis=1)  # so that equal distances keep their order
    values = np.take_along_axis(distance, found, axis=1)
    values[found == np.arange(len(found))[:, None]] = -1.0
    return np.take_along_axis(found, np.argsort(values, axis=1, kind="stable"), axis=1)


def _reciprocal(ranks: np.ndarray, k: int) -> csr_array:
    """(M, M) 1 where each of two rows is among the k + 1 nearest of the other."""
    neighbors = _indicator(ranks[:, : k + 1])
    return csr_array(neighbors.multiply(neighbors.T))


def _indicator(columns: np.ndarray) -> csr_array:
    """(M, M) 1 at the given columns of each row."""
    size, number = columns.shape
    ones = np.ones(columns.size, np.float32)
    return csr_array((ones, columns.ravel(), np.arange(size + 1) * number), shape=(size, size))


def _expanded(ranks: np.ndarray, k1: int) -> csr_array:
    """The k1-reciprocal sets, with the k1/2-reciprocal sets that mostly lie in them (Eq. 5)."""
    sets, halves = _reciprocal(ranks, k1), _reciprocal(ranks, int(np.around(k1 / 2)))
    overlap = csr_array(sets.multiply(sets @ halves.T))
    sizes = halves.sum(axis=1)
    overlap.data = (overlap.data > 2 / 3 * sizes[overlap.indices]).astype(np.float32)
    expanded = csr_array(sets + overlap @ halves)
    expanded.data[:] = 1.0
    expanded.eliminate_zeros()
    return expanded


def _weights(sets: csr_array, distance: np.ndarray) -> csr_array:
    """exp(-distance) on each set, with a sum of 1 (Eq. 7)."""
    rows = np.repeat(np.arange(len(distance)), np.diff(sets.indptr))
    values = np.exp(-distance[rows, sets.indices])
    values /= np.bincount(rows, values, minlength=len(distance))[rows]
    return csr_array((values, sets.indices, sets.indptr), shape=sets.shape)


def _mean_of(weights: csr_array, nearest: np.ndarray) -> csr_array:
    """The mean of the rows of each one's nearest neighbors, itself among them (Eq. 11)."""
    return csr_array(_indicator(nearest) @ weights) / nearest.shape[1]
