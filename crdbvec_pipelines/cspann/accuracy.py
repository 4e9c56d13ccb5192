"""The recall of searches, and the mean work per search."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.metrics import Numbers, Vectors, exact_distances
from crdbvec_pipelines.cspann.search import Found, SearchOptions, search
from crdbvec_pipelines.cspann.settings import Metric
from crdbvec_pipelines.cspann.tree import Tree

_BLOCK_FLOATS = 8_000_000


@dataclass(frozen=True)
class Accuracy:
    """The measured values of one search effort.

    Attributes:
        beam_size: The search effort.
        recall: The mean share of the true nearest rows that were found.
        worst_recall: The lowest recall of a query.
        standard_error: The standard error of the mean recall.
        partitions: The mean number of partitions read per search, on all levels.
        leaf_entries: The mean number of leaf entries compared by estimated distance.
        inner_entries: The mean number of entries compared on the levels above.
        full_vectors: The mean number of rows read and compared exactly.
    """

    beam_size: int
    recall: float
    worst_recall: float
    standard_error: float
    partitions: float
    leaf_entries: float
    inner_entries: float
    full_vectors: float


def true_neighbors(
    metric: Metric, queries: Vectors, vectors: Vectors, k: int, is_alive: NDArray[np.bool_] | None = None
) -> Numbers:
    """Return the k nearest rows of each query by comparing all rows; -1 if there are fewer.

    Args:
        metric: How vectors are compared.
        queries: The prepared queries.
        vectors: The prepared vectors, or a file of them in memory.
        k: The number of rows.
        is_alive: Whether each row exists; by default all do.
    """
    best = np.full((len(queries), k), np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    block = max(1, _BLOCK_FLOATS // max(vectors.shape[1], len(queries)))
    for start in range(0, len(vectors), block):
        distances = exact_distances(metric, queries, np.asarray(vectors[start : start + block]))
        if is_alive is not None:
            distances[:, ~is_alive[start : start + block]] = np.inf
        numbers = np.broadcast_to(np.arange(start, start + distances.shape[1]), distances.shape)
        all_distances = np.concatenate([best, distances], axis=1)
        all_rows = np.concatenate([rows, numbers], axis=1)
        chosen = np.argpartition(all_distances, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(all_distances, chosen, axis=1)
        rows = np.where(np.isinf(best), -1, np.take_along_axis(all_rows, chosen, axis=1))
    return np.take_along_axis(rows, np.argsort(best, axis=1, kind="stable"), axis=1)


def measure(
    tree: Tree,
    queries: Vectors,
    truth: Numbers,
    options: SearchOptions,
    is_alive: NDArray[np.bool_] | None = None,
) -> Accuracy:
    """Return the recall and the work of searches.

    Args:
        tree: The tree.
        queries: The prepared queries.
        truth: The true nearest rows of each query, of `true_neighbors`.
        options: What to search for.
        is_alive: Whether each row exists; by default all do.
    """
    found = list(search(tree, queries, options, is_alive))
    return summarize(options.beam_size, found, [recall_of(each, true) for each, true in zip(found, truth, strict=True)])


def recall_of(found: Found, truth: Numbers) -> float:
    """Return the share of the true rows that a search has found."""
    expected = truth[truth >= 0]
    return float(np.isin(expected, found.rows).mean()) if len(expected) else 1.0


def summarize(beam_size: int, found: Sequence[Found], recalls: Sequence[float]) -> Accuracy:
    """Return the mean values of searches."""
    values = np.array(recalls or [0.0])
    work = np.array([[each.partitions, each.leaf_entries, each.inner_entries, each.full_vectors] for each in found])
    partitions, leaf_entries, inner_entries, full_vectors = work.mean(axis=0).tolist() if len(work) else (0.0,) * 4
    return Accuracy(
        beam_size,
        float(values.mean()),
        float(values.min()),
        float(values.std() / np.sqrt(len(values))),
        partitions,
        leaf_entries,
        inner_entries,
        full_vectors,
    )
