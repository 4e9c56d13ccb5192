"""Building the vector index at the right moment: last, when enough rows have their vector."""

from collections.abc import Callable

from crdbvec_pipelines.config import IndexSpec, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import check_column, read_table
from crdbvec_pipelines.database.metrics import metric_of
from crdbvec_pipelines.database.status import column_counts
from crdbvec_pipelines.database.vector_index import VectorIndex
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.errors import CrdbvecError


class NotCovered(CrdbvecError):
    """Too few rows have a vector for an index to be built."""


def open_index(database: Database, spec: VectorColumn, encoder: Encoder) -> VectorIndex:
    """The vector index of a column.

    Raises:
        TableError: the table is missing or cannot carry the column, or a prefix column does not exist.
    """
    table = read_table(database, spec.table)
    check_column(table, spec, encoder.dim)
    return VectorIndex(database, table, spec, metric_of(spec, encoder.metric), encoder.dim)


def build_when_covered(
    database: Database,
    spec: VectorColumn,
    encoder: Encoder,
    *,
    replace: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> bool:
    """Builds the index if the share of embedded rows has reached `index.min_coverage`; returns whether it built one.

    An index that is kept up while a table is filled makes the filling many times slower, so it comes last.

    Raises:
        NotCovered: too few rows have a vector, or there is no vector column yet.
        TableError: the server cannot index this, or the existing index differs and `replace` is off.
    """
    index = open_index(database, spec, encoder)
    if not index.has_column:
        raise NotCovered(f"{spec.table} has no vector column {spec.output} yet; run crdbvec embed first.")
    wanted = (spec.index or IndexSpec()).min_coverage
    counts = column_counts(database, spec, encoder.dim, encoder.model_id)
    share = counts.coverage
    if share < wanted:
        raise NotCovered(
            f"{share:.1%} of the rows of {spec.table} that have an input have a fresh vector in {spec.output}, and the "
            f"index is built from {wanted:.1%} on, since filling an indexed column is slow; "
            "embed the rest first, or lower index.min_coverage."
        )
    return index.build(replace=replace, on_progress=on_progress)
