"""The size of an existing index on CockroachDB against its prediction."""

from dataclasses import dataclass
from itertools import islice

from crdbvec_pipelines.cspann.forest import PrefixSizes
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.cspann.sizes import KeyBytes, RecordBytes
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.search.vector_sample import read_prefix_sizes, read_vectors
from crdbvec_pipelines.search.index_sample import mean_key_bytes

_KEYS_MEASURED = 100


@dataclass(frozen=True)
class SizeCheck:
    """The live bytes and records of an index, and what the simulator expects of them.

    Attributes:
        live_bytes: The live bytes of one replica, according to the server.
        predicted_bytes: The predicted ones.
        live_records: The number of live records, according to the server.
        predicted_records: The predicted number.
    """

    live_bytes: int
    predicted_bytes: float
    live_records: int
    predicted_records: float

    @property
    def difference(self) -> float:
        """How much more live bytes there are than predicted, as a share of the prediction."""
        return self.live_bytes / self.predicted_bytes - 1 if self.predicted_bytes else 0.0


def check_size(column: BoundColumn, index: VectorIndex, definition: IndexDefinition) -> SizeCheck | None:
    """Return the size of an index with its prediction; None on a server whose index is another one.

    Args:
        column: The vector column.
        index: Its index.
        definition: The index as it exists.

    Raises:
        DatabaseError: The server rejected a statement.
    """
    found = index.live_records()
    if found is None:
        return None
    prefix = [column.table.columns[name] for name in definition.prefix]
    rows = islice(read_vectors(column, prefix, 1), _KEYS_MEASURED)
    keys = mean_key_bytes(column, definition.prefix, [row[1:] for row in rows])
    sizes = PrefixSizes.of(read_prefix_sizes(column, prefix))
    predicted_bytes, predicted_records = expected_size(column, definition, sizes, keys)
    return SizeCheck(found[0], predicted_bytes, found[1], predicted_records)


def expected_size(
    column: BoundColumn, definition: IndexDefinition, sizes: PrefixSizes, keys: KeyBytes
) -> tuple[float, float]:
    """Return the predicted live bytes and records of an index."""
    usual, given = IndexSettings(), definition.parameters
    settings = IndexSettings(
        column.metric,
        given.get("min_partition_size", usual.min_partition_size),
        given.get("max_partition_size", usual.max_partition_size),
    )
    records = RecordBytes.of(column.metric, column.model.dim, keys)
    shapes = sizes.shapes(settings)
    return sizes.live_bytes(settings, records), sum(count * shape.records for count, shape in shapes)
