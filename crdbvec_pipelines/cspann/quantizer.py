"""RaBitQ with one bit per dimension: vectors relative to the centroid of their partition, and estimated distances.

A vector is stored as the signs of its residual, the length of the residual, the inverse of the product between the
signs and the residual's direction, and for cosine and inner product its product with the centroid. A query is quantized
to four bits per dimension, again for each partition.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.metrics import Vectors
from crdbvec_pipelines.cspann.settings import Metric

# Four bits per dimension of a query.
_QUERY_STEPS = 15


@dataclass
class Codes:
    """The quantized vectors of one partition, one per row.

    Attributes:
        signs: +1 or -1 for each dimension.
        radii: The distances from the centroid.
        inverses: 1 / a, with a the product of the unit residual and the signs, divided by the square root of the
            dimension; 0 for a vector that equals the centroid.
        centroid_products: The inner products with the centroid.
    """

    signs: NDArray[np.int8]
    radii: Vectors
    inverses: Vectors
    centroid_products: Vectors

    @staticmethod
    def empty(dim: int) -> "Codes":
        """Return no vectors."""
        none = np.empty(0, np.float32)
        return Codes(np.empty((0, dim), np.int8), none, none, none)

    def append(self, other: "Codes") -> "Codes":
        """Return these vectors followed by others."""
        if not len(self.radii):
            return other
        return Codes(
            np.concatenate([self.signs, other.signs]),
            np.concatenate([self.radii, other.radii]),
            np.concatenate([self.inverses, other.inverses]),
            np.concatenate([self.centroid_products, other.centroid_products]),
        )

    def keep(self, kept: NDArray[np.bool_]) -> "Codes":
        """Return some of these vectors."""
        return Codes(self.signs[kept], self.radii[kept], self.inverses[kept], self.centroid_products[kept])


class Quantizer:
    """The quantizer of one index.

    Args:
        metric: How vectors are compared.
        dim: The dimension.
        seed: The seed of the random offsets with which the dimensions of queries are rounded.
    """

    def __init__(self, metric: Metric, dim: int, seed: int = 0) -> None:
        self._metric = metric
        self._dim = dim
        self._offsets = np.random.default_rng([seed, 1]).random(dim, dtype=np.float32)

    def encode(self, vectors: Vectors, centroid: Vectors) -> Codes:
        """Return the codes of prepared vectors relative to a centroid."""
        residuals = vectors - centroid
        radii = np.sqrt(np.einsum("ij,ij->i", residuals, residuals))
        is_negative = np.signbit(residuals)
        # The product of the residual with its own signs is the sum of its magnitudes.
        aligned = np.abs(residuals, out=residuals).sum(axis=1)
        signs = np.where(is_negative, np.int8(-1), np.int8(1))
        inverses = np.divide(radii * math.sqrt(self._dim), aligned, out=np.zeros_like(radii), where=aligned > 0)
        return Codes(signs, radii, inverses, vectors @ centroid)

    def estimate(self, queries: Vectors, codes: Codes, centroid: Vectors) -> tuple[Vectors, Vectors]:
        """Return the estimated distance of each query (rows) from each code (columns), and its error bound.

        The bound is not strict: about four of five errors are smaller, and 99 of 100 smaller than twice the bound.
        """
        residuals = queries - centroid
        lengths = np.sqrt(np.einsum("ij,ij->i", residuals, residuals))[:, None]
        rounded = self._rounded(residuals)
        products = rounded @ codes.signs.T.astype(np.float32)
        # The product of the two residuals: that of the query times the estimated direction of the vector.
        products *= codes.inverses * codes.radii / math.sqrt(self._dim)
        bounds = lengths * (codes.radii / math.sqrt(self._dim))
        if self._metric == "l2":
            distances = products
            distances *= -2
            distances += lengths**2
            distances += codes.radii**2
            bounds *= 2
            return self._clipped(distances, bounds, 0, None)
        products += codes.centroid_products
        products += (queries @ centroid)[:, None] - centroid @ centroid
        if self._metric == "ip":
            return np.negative(products, out=products), bounds
        return self._clipped(np.subtract(1, products, out=products), bounds, 0, 2)

    def _rounded(self, residuals: Vectors) -> Vectors:
        """Return the residuals of queries with 16 values per query, between its smallest and its largest one."""
        lowest = residuals.min(axis=1, keepdims=True)
        steps = (residuals.max(axis=1, keepdims=True) - lowest) / _QUERY_STEPS
        # All dimensions of a query that equals the centroid are 0, and so are its products.
        steps[steps == 0] = 1
        residuals -= lowest
        residuals /= steps
        residuals += self._offsets
        np.floor(residuals, out=residuals)
        residuals *= steps
        residuals += lowest
        return residuals

    @staticmethod
    def _clipped(distances: Vectors, bounds: Vectors, lowest: float, highest: float | None) -> tuple[Vectors, Vectors]:
        """Return distances within the range of the metric; a bound shrinks by what was cut off."""
        clipped = np.clip(distances, lowest, highest)
        distances -= clipped
        bounds -= np.abs(distances, out=distances)
        return clipped, np.maximum(bounds, 0, out=bounds)
