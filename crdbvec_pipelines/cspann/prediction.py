"""The prediction of an index: for each partition size the tree, its size, and recall and work at several beam sizes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crdbvec_pipelines.cspann.accuracy import Accuracy, measure, true_neighbors
from crdbvec_pipelines.cspann.build import IncrementalBuild
from crdbvec_pipelines.cspann.bulk import bulk_tree
from crdbvec_pipelines.cspann.forest import Forest, PrefixSizes
from crdbvec_pipelines.cspann.metrics import Numbers, Vectors
from crdbvec_pipelines.cspann.search import SearchOptions
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import USUAL_FILL, KeyBytes, RecordBytes, TreeShape, expected_shape, shape_of
from crdbvec_pipelines.cspann.space import Space
from crdbvec_pipelines.cspann.tree import Tree

DEFAULT_BEAM_SIZES = (8, 16, 32, 64, 128)
DEFAULT_PARTITION_SIZES = (64, 128, 256)

MAX_INCREMENTAL_ROWS = 60_000
"""Up to this many vectors are inserted one after another; more are placed by the bulk construction."""

# The recall at these shares of the sample shows how it changes with the number of rows. Smaller shares would not: in
# small trees, a search reads most leaves.
_GROWTH_SHARES = (0.5, 1.0)
# The fill of a tree with fewer leaves depends on when its last splits were.
_LEAVES_FOR_FILL = 20
_LARGEST_LOGIT = 8.0


@dataclass(frozen=True)
class Grid:
    """What is predicted.

    Attributes:
        beam_sizes: The search efforts.
        partition_sizes: The values of `max_partition_size`.
        k: The number of nearest rows that a search requests.
        rows: The number of rows of the table; its size is predicted for it.
        grown_rows: Further numbers of rows, for the growth of the table.
    """

    beam_sizes: tuple[int, ...] = DEFAULT_BEAM_SIZES
    partition_sizes: tuple[int, ...] = DEFAULT_PARTITION_SIZES
    k: int = 10
    rows: int | None = None
    grown_rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sample:
    """Vectors of a table and queries, not prepared.

    Attributes:
        vectors: The vectors of the sampled rows, or a file of them in memory.
        queries: The queries.
        prefixes: The number of the prefix value of each row; None without prefix columns.
        query_prefixes: The number of the prefix value within which each query searches.
        sizes: The numbers of rows per prefix value in the whole table; by default those of the sample.
    """

    vectors: Vectors
    queries: Vectors
    prefixes: Numbers | None = None
    query_prefixes: Numbers | None = None
    sizes: PrefixSizes | None = None


@dataclass(frozen=True)
class SearchPrediction:
    """One beam size: measured by simulation unless the index is extrapolated.

    Attributes:
        beam_size: The search effort.
        recall: The mean recall at k.
        worst_recall: The lowest recall of a query; None if it is extrapolated.
        standard_error: The standard error of the mean recall, that of the simulated one if it is extrapolated.
        partitions: The mean number of partitions read per search.
        leaf_entries: The mean number of leaf entries compared by estimated distance.
        full_vectors: The mean number of rows that are read and compared exactly.
        bytes_read: The mean number of bytes read per search, of which the rows' other columns are no part.
        round_trips: The number of reads that follow one another: one for each level, and one for the rows.
    """

    beam_size: int
    recall: float
    worst_recall: float | None
    standard_error: float
    partitions: float
    leaf_entries: float
    full_vectors: float
    bytes_read: float
    round_trips: int


@dataclass(frozen=True)
class IndexPrediction:
    """An index over a number of rows.

    Attributes:
        rows: The number of rows.
        is_extrapolated: Whether the number of rows is not the number of simulated ones, so that shape and work are
            computed from the fill of the simulated tree, and recall from how it changed while that tree grew.
        levels: The number of levels; with prefix columns, of the largest tree.
        partitions: The number of live partitions.
        dead_partitions: The number of partitions whose metadata stays in the index after a split or merge.
        fill: The mean number of entries per leaf.
        live_bytes: The live bytes, per replica.
        share_of_vectors: The live bytes as a share of the full vectors.
        bytes_after_build: The bytes with the old versions of an incremental build, until they are collected.
        searches: One prediction per beam size.
    """

    rows: int
    is_extrapolated: bool
    levels: int
    partitions: float
    dead_partitions: float
    fill: float
    live_bytes: float
    share_of_vectors: float
    bytes_after_build: float
    searches: tuple[SearchPrediction, ...]


@dataclass(frozen=True)
class SizePrediction:
    """The prediction for one partition size.

    Attributes:
        max_partition_size: The maximum number of entries of a partition.
        min_partition_size: The minimum number.
        build_beam_size: The search effort of inserts.
        sample: The index over the sample, which was simulated.
        table: The index over all rows of the table.
        grown: The index over further numbers of rows.
        unquantized_prefixes: The number of prefix values whose tree is one partition with full vectors; None without
            prefix columns.
        unquantized_rows: The number of rows with such a prefix value.
    """

    max_partition_size: int
    min_partition_size: int
    build_beam_size: int
    sample: IndexPrediction
    table: IndexPrediction
    grown: tuple[IndexPrediction, ...]
    unquantized_prefixes: int | None = None
    unquantized_rows: int | None = None


def predict(
    sample: Sample,
    settings: IndexSettings,
    grid: Grid,
    keys: KeyBytes,
    on_progress: Callable[[int], None] = lambda count: None,
) -> tuple[SizePrediction, ...]:
    """Return the prediction for each partition size.

    Args:
        sample: The vectors and queries.
        settings: The settings of the index, apart from the partition sizes.
        grid: What to predict.
        keys: The bytes of the keys.
        on_progress: Receives how many rows have been indexed since the last call; each is indexed once per partition
            size.
    """
    space = Space(settings, sample.vectors.shape[1])
    # A file of vectors is replaced by the prepared ones, which have the same size.
    out = sample.vectors if isinstance(sample.vectors, np.memmap) else None
    vectors, queries = space.prepare(sample.vectors, out), space.prepare(sample.queries)
    prepared = replace(sample, vectors=vectors, queries=queries)
    return tuple(
        _Predictor(prepared, settings.with_max_partition_size(size), grid, keys).predict(on_progress)
        for size in grid.partition_sizes
    )


@dataclass(frozen=True)
class _Predictor:
    """The prediction for one partition size, from prepared vectors."""

    sample: Sample
    settings: IndexSettings
    grid: Grid
    keys: KeyBytes

    @property
    def _sizes(self) -> RecordBytes:
        return RecordBytes.of(self.settings.metric, self.sample.vectors.shape[1], self.keys)

    @property
    def _table_rows(self) -> int:
        return self.grid.rows if self.grid.rows is not None else len(self.sample.vectors)

    def predict(self, on_progress: Callable[[int], None]) -> SizePrediction:
        if self.sample.prefixes is not None and self.sample.query_prefixes is not None:
            return self._of_forest(self.sample.prefixes, self.sample.query_prefixes, on_progress)
        curves, tree = self._grow(on_progress)
        shape = shape_of(tree)
        simulated = self._index(shape, len(self.sample.vectors), curves[-1][1], is_extrapolated=False)
        fill = self._fill(shape)
        of_table, *grown = (
            self._extrapolated(rows, fill, curves) for rows in (self._table_rows, *self.grid.grown_rows)
        )
        if self._table_rows == len(self.sample.vectors):
            of_table = simulated
        return SizePrediction(
            self.settings.max_partition_size,
            self.settings.min_partition_size,
            self.settings.build_beam_size,
            simulated,
            of_table,
            tuple(grown),
        )

    def _grow(self, on_progress: Callable[[int], None]) -> tuple[list[tuple[int, list[Accuracy]]], Tree]:
        """Return the accuracies at several numbers of rows of the sample, and the tree of all of them."""
        count = len(self.sample.vectors)
        needs_growth = self._table_rows != count or self.grid.grown_rows
        counts = sorted({max(1, int(count * share)) for share in (_GROWTH_SHARES if needs_growth else (1.0,))})
        is_incremental = count <= MAX_INCREMENTAL_ROWS
        # The order of the keys may be that of the contents, so rows are inserted in random order.
        vectors = self.sample.vectors
        build = None
        if is_incremental:
            order = np.random.default_rng([self.settings.seed, 4]).permutation(count)
            vectors = vectors[order]
            build = IncrementalBuild(self.settings, vectors)
        curves, done = [], 0
        tree = build.tree if build else bulk_tree(self.settings, vectors, on_progress)
        for rows in counts:
            if build:
                build.insert(np.arange(done, rows), on_progress)
                done = rows
            elif rows < count:
                continue
            curves.append((rows, self._accuracies(tree, vectors[:rows])))
        return curves, tree

    def _accuracies(self, tree: Tree, vectors: Vectors) -> list[Accuracy]:
        truth = true_neighbors(self.settings.metric, self.sample.queries, vectors, self.grid.k)
        return [
            measure(tree, self.sample.queries, truth, SearchOptions(self.grid.k, beam_size))
            for beam_size in self.grid.beam_sizes
        ]

    def _fill(self, shape: TreeShape) -> float:
        if not shape.partitions or shape.partitions[0] < _LEAVES_FOR_FILL:
            return USUAL_FILL
        return shape.fill / self.settings.max_partition_size

    def _index(
        self, shape: TreeShape, rows: int, accuracies: Sequence[Accuracy], *, is_extrapolated: bool
    ) -> IndexPrediction:
        sizes = self._sizes
        live = shape.live_bytes(sizes)
        searches = tuple(
            SearchPrediction(
                each.beam_size,
                each.recall,
                None if is_extrapolated else each.worst_recall,
                each.standard_error,
                each.partitions,
                each.leaf_entries,
                each.full_vectors,
                shape.search_bytes(sizes, each.beam_size, each.full_vectors),
                shape.levels + 1,
            )
            for each in accuracies
        )
        return IndexPrediction(
            rows,
            is_extrapolated,
            shape.levels,
            sum(shape.partitions) + 1,
            shape.dead,
            shape.fill,
            live,
            live / (max(1, rows) * sizes.row),
            live + shape.garbage_bytes(sizes),
            searches,
        )

    def _extrapolated(
        self, rows: int, fill: float, curves: Sequence[tuple[int, Sequence[Accuracy]]]
    ) -> IndexPrediction:
        shape = expected_shape(self.settings, rows, fill)
        accuracies = [
            replace(
                measured,
                recall=extrapolated_recall([(count, each[number].recall) for count, each in curves], rows),
                partitions=shape.partitions_read(measured.beam_size),
                leaf_entries=shape.leaf_entries(measured.beam_size),
            )
            for number, measured in enumerate(curves[-1][1])
        ]
        return self._index(shape, rows, accuracies, is_extrapolated=True)

    def _of_forest(
        self, prefixes: Numbers, query_prefixes: Numbers, on_progress: Callable[[int], None]
    ) -> SizePrediction:
        """Return the prediction from the trees of the sample's prefix values, and the sizes of those of the table."""
        forest = Forest(self.settings, self.sample.vectors, prefixes, on_progress)
        accuracies = [
            forest.measure(self.sample.queries, query_prefixes, SearchOptions(self.grid.k, beam_size))
            for beam_size in self.grid.beam_sizes
        ]
        sizes = self._sizes
        shapes = {prefix: shape_of(tree) for prefix, tree in forest.trees.items()}
        searched = [shapes[prefix] for prefix in query_prefixes.tolist()]
        live = sum(shape.live_bytes(sizes) for shape in shapes.values())
        largest = max(shapes.values(), key=lambda shape: shape.entries)
        leaves = sum(shape.partitions[0] if shape.partitions else 1 for shape in shapes.values())
        searches = tuple(
            SearchPrediction(
                each.beam_size,
                each.recall,
                each.worst_recall,
                each.standard_error,
                each.partitions,
                each.leaf_entries,
                each.full_vectors,
                float(np.mean([shape.search_bytes(sizes, each.beam_size, each.full_vectors) for shape in searched])),
                largest.levels + 1,
            )
            for each in accuracies
        )
        index = IndexPrediction(
            len(self.sample.vectors),
            False,
            largest.levels,
            sum(sum(shape.partitions) + 1 for shape in shapes.values()),
            sum(shape.dead for shape in shapes.values()),
            len(self.sample.vectors) / leaves,
            live,
            live / (len(self.sample.vectors) * sizes.row),
            live + sum(shape.garbage_bytes(sizes) for shape in shapes.values()),
            searches,
        )
        histogram = self.sample.sizes or sizes_of(prefixes)
        table_rows = self._table_rows
        is_whole = histogram.total_rows == len(self.sample.vectors)
        table = index if is_whole else self._grown_forest(index, histogram, table_rows)
        flat = histogram.unquantized(self.settings)
        return SizePrediction(
            self.settings.max_partition_size,
            self.settings.min_partition_size,
            self.settings.build_beam_size,
            index,
            table,
            tuple(self._grown_forest(index, histogram.scaled(rows), rows) for rows in self.grid.grown_rows),
            flat.total_prefixes,
            flat.total_rows,
        )

    def _grown_forest(self, index: IndexPrediction, sizes: PrefixSizes, rows: int) -> IndexPrediction:
        """Return an index whose sizes are those of a histogram; a search reads the same as before within one prefix."""
        live = sizes.live_bytes(self.settings, self._sizes)
        shapes = sizes.shapes(self.settings)
        return replace(
            index,
            rows=rows,
            is_extrapolated=True,
            partitions=sum(count * (sum(shape.partitions) + 1) for count, shape in shapes),
            dead_partitions=sum(count * shape.dead for count, shape in shapes),
            live_bytes=live,
            share_of_vectors=live / (max(1, rows) * self._sizes.row),
            bytes_after_build=live + sum(count * shape.garbage_bytes(self._sizes) for count, shape in shapes),
        )


def sizes_of(prefixes: Numbers) -> PrefixSizes:
    """Return how many prefix values have how many rows.

    Args:
        prefixes: The number of the prefix value of each row.
    """
    rows, counts = np.unique(np.bincount(prefixes), return_counts=True)
    return PrefixSizes(rows[rows > 0], counts[rows > 0])


def extrapolated_recall(measured: Sequence[tuple[int, float]], rows: int) -> float:
    """Return the recall at a number of rows, from its change between the numbers that were measured.

    The logit of the recall is extended as a line over the logarithm of the number of rows. The result is rather too
    low: the recall falls fast as long as a search reads a large part of the leaves, and slower afterwards. It does not
    rise above the last measured one.
    """
    last_rows, last = measured[-1]
    logits = np.array([_logit(recall) for _, recall in measured])
    if len(measured) < 2 or rows <= last_rows:
        return last
    slope = float(np.polyfit(np.log([count for count, _ in measured]), logits, 1)[0])
    logit = float(logits[-1]) + min(0.0, slope) * math.log(rows / last_rows)
    return min(last, 1 / (1 + math.exp(-logit)))


def _logit(recall: float) -> float:
    if recall <= 0 or recall >= 1:
        return math.copysign(_LARGEST_LOGIT, recall - 0.5)
    return max(-_LARGEST_LOGIT, min(_LARGEST_LOGIT, math.log(recall / (1 - recall))))
