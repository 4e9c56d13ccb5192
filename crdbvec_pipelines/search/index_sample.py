"""The vectors and queries from which an index is predicted: a sample of the rows of a table.

The sample of an index with prefix columns has whole trees. If the table is larger than the sample, trees of the real
sizes are made of random rows, because a sample of rows contains few rows of each value of the prefix.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.cspann.forest import PrefixSizes
from crdbvec_pipelines.cspann.metrics import Numbers, Vectors
from crdbvec_pipelines.cspann.prediction import MAX_INCREMENTAL_ROWS, Sample, sizes_of
from crdbvec_pipelines.cspann.sizes import KeyBytes, encoded_bytes
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.search.vector_sample import read_prefix_sizes, read_vectors

DEFAULT_SAMPLE_ROWS = 50_000

# The bytes of keys are averaged over this many rows.
_KEYS_MEASURED = 1_000


@dataclass(frozen=True)
class TableSample:
    """A sample of a table.

    Attributes:
        vectors: The vectors, in key order, in memory or in a file.
        prefixes: The number of the prefix value of each row; None without prefix columns.
        sizes: The numbers of rows per prefix value in the whole table; without prefix columns, one value has all rows.
        keys: The mean bytes of the columns of a key.
    """

    vectors: Vectors
    prefixes: Numbers | None
    sizes: PrefixSizes
    keys: KeyBytes

    @property
    def is_whole_table(self) -> bool:
        """Whether every row of the table is in the sample."""
        return self.sizes.total_rows <= len(self.vectors)

    def with_queries(self, queries: Vectors | None, count: int, seed: int) -> Sample:
        """Return the sample with queries.

        Args:
            queries: The queries; None for points between random pairs of rows.
            count: The number of points between rows.
            seed: The seed of all random choices.
        """
        random = np.random.default_rng([seed, 5])
        chosen = _midpoints(self.vectors, count, random) if queries is None else queries
        if self.prefixes is None:
            return Sample(self.vectors, chosen)
        if self.is_whole_table:
            # A user with many rows searches as often as many users with few.
            of_queries = self.prefixes[random.integers(0, len(self.prefixes), len(chosen))]
            return Sample(self.vectors, chosen, self.prefixes, of_queries, self.sizes)
        rows, prefixes = _random_trees(self.sizes, len(self.vectors), random)
        of_queries = random.integers(0, prefixes[-1] + 1, len(chosen))
        return Sample(self.vectors[rows], chosen, prefixes, of_queries, self.sizes)


def _midpoints(vectors: Vectors, count: int, random: np.random.Generator) -> Vectors:
    pairs = random.integers(0, len(vectors), (2, count))
    middles: Vectors = (vectors[pairs[0]] + vectors[pairs[1]]) * np.float32(0.5)
    return middles


def _random_trees(sizes: PrefixSizes, rows: int, random: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Return random rows, and the number of the tree of each: the sizes are those of the trees of random rows."""
    weights = sizes.rows * sizes.prefixes
    drawn = np.minimum(random.choice(sizes.rows, rows, p=weights / weights.sum()), rows)
    count = max(1, int(np.searchsorted(np.cumsum(drawn), rows, side="right")))
    prefixes = np.repeat(np.arange(count), drawn[:count])
    return random.permutation(rows)[: len(prefixes)], prefixes


@contextmanager
def read_sample(
    column: BoundColumn, size: int | None, on_progress: Callable[[int], None] = lambda count: None
) -> Iterator[TableSample]:
    """Read a sample of the rows that have a vector.

    Args:
        column: The vector column, which exists.
        size: The number of rows; None for all. More rows than are inserted one by one are kept in a temporary file.
        on_progress: Receives how many rows have been read since the last call.

    Raises:
        TableError: No row has a vector.
    """
    spec = column.spec.index
    prefix = [column.table.columns[name] for name in (spec.prefix if spec else ())]
    sizes = PrefixSizes.of(read_prefix_sizes(column, prefix))
    total = sizes.total_rows
    if not total:
        raise TableError(
            f"No row of {column.spec.table} has a vector in {column.spec.output}. Run `crdbvec embed` first."
        )
    wanted = total if size is None else min(size, total)
    with tempfile.TemporaryDirectory(prefix="crdbvec_") as folder:
        shape = (wanted, column.model.dim)
        vectors: NDArray[np.float32] = (
            np.empty(shape, np.float32)
            if wanted <= MAX_INCREMENTAL_ROWS
            else np.memmap(Path(folder) / "vectors", np.float32, "w+", shape=shape)
        )
        values: dict[tuple[object, ...], int] = {}
        prefixes: list[int] = []
        keys: list[Sequence[object]] = []
        read = 0
        for vector, *others in read_vectors(column, prefix, wanted / total):
            if read == wanted:
                # The number of rows with a small digest varies a little.
                break
            vectors[read] = vector
            read += 1
            on_progress(1)
            if prefix:
                prefixes.append(values.setdefault(tuple(others[: len(prefix)]), len(values)))
            if len(keys) < _KEYS_MEASURED:
                keys.append(others)
        numbers = np.array(prefixes, np.int64) if prefix else None
        if numbers is not None and size is None:
            # Rows that were inserted or deleted while the table was read are in the trees, not in the histogram.
            sizes = sizes_of(numbers)
        yield TableSample(vectors[:read], numbers, sizes, mean_key_bytes(column, spec.prefix if spec else (), keys))


def mean_key_bytes(column: BoundColumn, prefix: Sequence[str], rows: Sequence[Sequence[object]]) -> KeyBytes:
    """Return the mean bytes of the columns of a key; a key column that is a prefix column is not repeated in it.

    Args:
        column: The vector column.
        prefix: The names of the prefix columns.
        rows: The values of the prefix columns and of the key of some rows.
    """
    names = [part.name for part in column.table.key]
    in_prefix, in_key = [], []
    for row in rows:
        in_prefix.append(sum(map(encoded_bytes, row[: len(prefix)])))
        key = zip(names, row[len(prefix) :], strict=True)
        in_key.append(sum(encoded_bytes(value) for name, value in key if name not in prefix))
    return KeyBytes(prefix=float(np.mean(in_prefix or [0])), primary_key=float(np.mean(in_key or [0])))
