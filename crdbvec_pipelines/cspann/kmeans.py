"""The balanced division of a partition's vectors into two groups."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.metrics import Vectors, routing_vectors
from crdbvec_pipelines.cspann.settings import Metric

_MAX_ITERATIONS = 16
_SMALLEST_SHARE = 0.33
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Division:
    """Two groups of vectors.

    Attributes:
        left: The centroid of the left group, the plain mean.
        right: The centroid of the right group.
    """

    left: Vectors
    right: Vectors


def divide(metric: Metric, vectors: Vectors, random: np.random.Generator) -> Division:
    """Return the centroids of two groups of at least a third of the vectors each, by 2-means."""
    count = len(vectors)
    if count < 2:
        only = vectors[0] if count else np.zeros(vectors.shape[1], np.float32)
        return Division(only, only)
    left, right = _seeds(metric, vectors, random)
    tolerance = _TOLERANCE * float(vectors.var(axis=0).mean())
    total: Vectors = vectors.sum(axis=0)
    for _ in range(_MAX_ITERATIONS):
        is_left = assign(metric, vectors, left, right)
        count_left = np.count_nonzero(is_left)
        sum_left = is_left.astype(np.float32) @ vectors
        new_left = sum_left * np.float32(1 / count_left)
        new_right = (total - sum_left) * np.float32(1 / (count - count_left))
        shift = max(float(((new_left - left) ** 2).sum()), float(((new_right - right) ** 2).sum()))
        left, right = new_left, new_right
        if shift <= tolerance:
            break
    return Division(left, right)


def assign(metric: Metric, vectors: Vectors, left: Vectors, right: Vectors) -> NDArray[np.bool_]:
    """Return for each vector whether it belongs to the left group, with at least a third of them in each group."""
    count = len(vectors)
    if metric == "l2":
        # The difference of the two squared distances.
        differences = vectors @ (2 * (right - left)) + np.float32(left @ left - right @ right)
    else:
        differences = vectors @ (routing_vectors(metric, right) - routing_vectors(metric, left))
    order = np.argsort(differences, kind="stable")
    # A tie goes to the right.
    nearer_left = int(np.count_nonzero(differences < 0))
    smallest = math.ceil(_SMALLEST_SHARE * count)
    is_left = np.zeros(count, bool)
    is_left[order[: min(max(nearer_left, smallest), count - smallest)]] = True
    return is_left


def _seeds(metric: Metric, vectors: Vectors, random: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Return two of the vectors: a random one, and one that is the more likely the farther it is (k-means++)."""
    first = int(random.integers(len(vectors)))
    products = vectors @ vectors[first]
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if metric == "l2":
        distances = squares - 2 * products + squares[first]
    elif metric == "cosine":
        distances = 1 - products
    else:
        distances = -products / np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))
    weights = np.asarray(distances - distances.min(), np.float64)
    weights[first] = 0
    total = weights.sum()
    second = int(random.choice(len(vectors), p=weights / total)) if total > 0 else int((first + 1) % len(vectors))
    return vectors[first], vectors[second]
