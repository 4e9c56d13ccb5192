"""The search of an index: the beam, the candidates that are compared exactly, and the work of each step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.metrics import Numbers, Vectors, exact_distances
from crdbvec_pipelines.cspann.settings import DEFAULT_BEAM_SIZE, RERANK_MULTIPLIER, beam_width
from crdbvec_pipelines.cspann.tree import Tree

# The scan of a block of queries needs about 16 bytes per cell.
_BLOCK_CELLS = 4_000_000


@dataclass(frozen=True)
class RerankLimits:
    """How many candidates a search reads in full.

    Attributes:
        results: The nearest candidates by estimated distance, which are always read.
        extras: The maximum number of further candidates whose error bounds overlap.
    """

    results: int
    extras: int


def rerank_limits(k: int, beam_size: int = DEFAULT_BEAM_SIZE, multiplier: int = RERANK_MULTIPLIER) -> RerankLimits:
    """Return how many candidates a search for k rows reads in full."""
    results = max(math.ceil(1.2 * k), 10)
    factor = int(math.log2(max(beam_size, 2)) * math.log2(max(k, 2)))
    return RerankLimits(results, factor * multiplier)


@dataclass(frozen=True)
class SearchOptions:
    """What a search asks, and the search effort.

    Attributes:
        k: The number of nearest rows.
        beam_size: The number of leaves to read.
        rerank_multiplier: The multiplier of the candidates that are read in full.
    """

    k: int = 10
    beam_size: int = DEFAULT_BEAM_SIZE
    rerank_multiplier: int = RERANK_MULTIPLIER

    @property
    def limits(self) -> RerankLimits:
        """How many candidates are read in full."""
        return rerank_limits(self.k, self.beam_size, self.rerank_multiplier)


@dataclass(frozen=True)
class Found:
    """The result of one search, and its work.

    Attributes:
        rows: The nearest rows, nearest first.
        partitions: The number of partitions read, on all levels.
        leaf_entries: The number of leaf entries compared by estimated distance.
        inner_entries: The number of entries compared on the levels above.
        full_vectors: The number of rows that were read and compared exactly.
    """

    rows: Numbers
    partitions: int
    leaf_entries: int
    inner_entries: int
    full_vectors: int


def candidates(distances: Vectors, bounds: Vectors, members: Numbers, limits: RerankLimits) -> Numbers:
    """Return the members that are compared exactly, nearest by estimated distance first.

    The first `results` ones are always among them. Further ones follow as long as their distance minus their error
    bound is at most the distance plus the error bound of the last result.
    """
    most = limits.results + limits.extras
    if most < len(distances):
        chosen = np.argpartition(distances, most - 1)[:most]
        distances, bounds, members = distances[chosen], bounds[chosen], members[chosen]
    order = np.lexsort((members, bounds, distances))
    distances, bounds, members = distances[order], bounds[order], members[order]
    if len(members) <= limits.results:
        return members
    last = limits.results - 1
    is_outside = distances[limits.results :] - bounds[limits.results :] > distances[last] + bounds[last]
    extras = int(is_outside.argmax()) if is_outside.any() else len(is_outside)
    return members[: limits.results + extras]


def search(
    tree: Tree, queries: Vectors, options: SearchOptions, is_alive: NDArray[np.bool_] | None = None
) -> Iterator[Found]:
    """Yield the result of each query.

    Args:
        tree: The tree.
        queries: The prepared queries.
        options: What to search for.
        is_alive: Whether each row still exists; an entry of a deleted row is read and then excluded. By default all do.
    """
    block = max(1, _BLOCK_CELLS // _cells(tree, options.beam_size))
    for start in range(0, len(queries), block):
        part = queries[start : start + block]
        scan = tree.descend(part, 1, options.beam_size)
        leaf_entries = scan.entries_read
        for number, query in enumerate(part):
            is_entry = scan.members[number] >= 0
            rows = candidates(
                scan.distances[number][is_entry],
                scan.bounds[number][is_entry],
                scan.members[number][is_entry],
                options.limits,
            )
            full_vectors = len(rows)
            if is_alive is not None:
                rows = rows[is_alive[rows]]
            exact = exact_distances(tree.settings.metric, query[None], tree.vectors[rows])[0]
            yield Found(
                rows[np.argsort(exact, kind="stable")[: options.k]],
                int(scan.partitions_read[number]),
                int(leaf_entries[number]),
                int(scan.entries_above[number]),
                full_vectors,
            )


def _cells(tree: Tree, beam_size: int) -> int:
    """Return the number of cells that the largest scan of one query needs."""
    largest = max(map(len, tree.partitions.values()), default=1)
    return max(beam_width(beam_size, level) * largest for level in range(1, tree.levels + 1))
