"""Distances of the three metrics. Smaller is nearer; L2 distances are squared, as in the index."""

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.settings import Metric

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]


def unit(vectors: Vectors) -> Vectors:
    """Return vectors scaled to length one; those of length zero stay as they are."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled = vectors.astype(np.float32, copy=True)
    np.divide(vectors, lengths, out=scaled, where=lengths > 0)
    return scaled


def prepared(metric: Metric, vectors: Vectors) -> Vectors:
    """Return vectors as the index compares them: for cosine, scaled to length one."""
    return unit(vectors) if metric == "cosine" else vectors.astype(np.float32, copy=False)


def routing_vectors(metric: Metric, centroids: Vectors) -> Vectors:
    """Return centroids as entries of the parent partition: for cosine and inner product, scaled to length one."""
    return centroids if metric == "l2" else unit(centroids)


def exact_distances(metric: Metric, queries: Vectors, vectors: Vectors) -> Vectors:
    """Return the distance of each query (rows) from each vector (columns); both are prepared."""
    products: Vectors = queries @ vectors.T
    if metric == "ip":
        products *= -1
        return products
    if metric == "cosine":
        products *= -1
        products += 1
        return products
    products *= -2
    products += np.einsum("ij,ij->i", queries, queries)[:, None]
    products += np.einsum("ij,ij->i", vectors, vectors)
    np.maximum(products, 0, out=products)
    return products
