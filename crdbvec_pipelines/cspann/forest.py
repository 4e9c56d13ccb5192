"""An index with prefix columns: one independent tree for each of their values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from crdbvec_pipelines.cspann.accuracy import Accuracy, recall_of, summarize, true_neighbors
from crdbvec_pipelines.cspann.build import IncrementalBuild
from crdbvec_pipelines.cspann.metrics import Numbers, Vectors
from crdbvec_pipelines.cspann.search import SearchOptions, search
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import RecordBytes, TreeShape, expected_shape
from crdbvec_pipelines.cspann.tree import Tree


@dataclass(frozen=True)
class PrefixSizes:
    """How many prefix values have how many rows.

    Attributes:
        rows: The numbers of rows per prefix value that occur.
        prefixes: The number of prefix values with each of them.
    """

    rows: Numbers
    prefixes: Numbers

    @classmethod
    def of(cls, counts: Sequence[tuple[int, int]]) -> "PrefixSizes":
        """Return the sizes for pairs of a number of rows and the number of prefix values with it."""
        pairs = np.array(sorted(counts), np.int64).reshape(-1, 2)
        return cls(pairs[:, 0], pairs[:, 1])

    @property
    def total_rows(self) -> int:
        """The number of rows."""
        return int(self.rows @ self.prefixes)

    @property
    def total_prefixes(self) -> int:
        """The number of prefix values."""
        return int(self.prefixes.sum())

    def scaled(self, rows: int) -> "PrefixSizes":
        """Return the sizes of a table that has grown by more prefix values of the same sizes."""
        factor = rows / max(1, self.total_rows)
        return PrefixSizes(self.rows, np.maximum(1, np.round(self.prefixes * factor)).astype(np.int64))

    def unquantized(self, settings: IndexSettings) -> "PrefixSizes":
        """Return the prefix values whose tree is one partition, which stores full vectors."""
        is_flat = self.rows <= settings.max_partition_size
        return PrefixSizes(self.rows[is_flat], self.prefixes[is_flat])

    def shapes(self, settings: IndexSettings) -> list[tuple[int, TreeShape]]:
        """Return the expected trees, as pairs of a number of prefix values and the shape of the tree of each."""
        return [
            (prefixes, expected_shape(settings, rows))
            for rows, prefixes in zip(self.rows.tolist(), self.prefixes.tolist(), strict=True)
        ]

    def live_bytes(self, settings: IndexSettings, sizes: RecordBytes) -> float:
        """Return the live bytes of all trees, a sum over the sizes that occur: bytes are not linear in rows."""
        return float(sum(prefixes * shape.live_bytes(sizes) for prefixes, shape in self.shapes(settings)))


class Forest:
    """The trees of an index with prefix columns.

    Attributes:
        trees: The tree of each prefix value.

    Args:
        settings: The settings of the index, the same for all trees.
        vectors: The prepared vectors of all rows.
        prefixes: The number of the prefix value of each row, from 0.
        on_progress: Receives how many rows have been inserted since the last call.
    """

    def __init__(
        self,
        settings: IndexSettings,
        vectors: Vectors,
        prefixes: Numbers,
        on_progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._settings = settings
        order = np.argsort(prefixes, kind="stable")
        present, starts = np.unique(prefixes[order], return_index=True)
        self.trees: dict[int, Tree] = {}
        for prefix, rows in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            build = IncrementalBuild(settings, vectors[rows])
            build.insert(np.arange(len(rows)), on_progress)
            self.trees[prefix] = build.tree

    def measure(self, queries: Vectors, prefixes: Numbers, options: SearchOptions) -> Accuracy:
        """Return the recall and the work of searches, each within one prefix value."""
        found, recalls = [], []
        for prefix in np.unique(prefixes).tolist():
            tree = self.trees[prefix]
            own = queries[prefixes == prefix]
            truth = true_neighbors(self._settings.metric, own, tree.vectors, options.k)
            for each, true in zip(search(tree, own, options), truth, strict=True):
                found.append(each)
                recalls.append(recall_of(each, true))
        return summarize(options.beam_size, found, recalls)
