"""The build of the vector index once enough rows have their vector."""

from collections.abc import Callable

from crdbvec_pipelines.config import IndexSpec
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.errors import CrdbvecError


class CoverageTooLow(CrdbvecError):
    """Too few rows have a vector for the index to be built."""

    remedy = "Run `crdbvec embed` to embed the pending rows, or lower `index.min_coverage`."


def build_when_covered(
    column: BoundColumn,
    *,
    replace: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> bool:
    """Build the index if the share of embedded rows has reached `index.min_coverage`; return whether it was built.

    Inserting vectors into an existing index is many times slower, so the index is built after the rows are embedded.

    Args:
        column: The vector column; it need not exist yet.
        replace: Whether to drop an index that differs from the configuration and build it again.
        on_progress: Receives the completed share, from 0 to 1, about once per second.

    Raises:
        CoverageTooLow: Too few rows have a vector, or the table has no vector column yet.
        TableError: The server cannot index this column, or the existing index differs and `replace` is false.
    """
    spec = column.spec
    index = VectorIndex(column)
    if not column.exists:
        raise CoverageTooLow(f"{spec.table} has no vector column {spec.output} yet. Run `crdbvec embed` first.")
    min_coverage = (spec.index or IndexSpec()).min_coverage
    counts = column_counts(column)
    coverage = counts.coverage
    if coverage < min_coverage:
        failed = f" {counts.failed:,} rows have failed; run `crdbvec errors list`." if counts.failed else ""
        raise CoverageTooLow(
            f"Only {coverage:.1%} of the rows of {spec.table} that have an input have a current vector in "
            f"{spec.output}; the index build requires {min_coverage:.1%}, because inserting into an indexed column is "
            f"slow. Run `crdbvec embed` first, or lower index.min_coverage.{failed}"
        )
    return index.build(replace=replace, on_progress=on_progress)
