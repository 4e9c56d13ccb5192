"""The build of the vector index and of the text index once enough rows have their vector."""

from collections.abc import Callable

from crdbvec_pipelines.config import IndexSpec
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.search.recall import RecallCurve, measure_recall


class RecallTooLow(CrdbvecError):
    """The index that was built in place of another one has a lower recall than the caller accepts."""

    remedy = "Change the parameters in `index`, or accept a lower recall with --min-recall."


class CoverageTooLow(CrdbvecError):
    """Too few rows have a vector for the index to be built."""

    remedy = "Run `crdbvec embed` to embed the pending rows, or lower `index.min_coverage`."


def build_when_covered(
    column: BoundColumn,
    *,
    replace: bool = False,
    on_progress: Callable[[float], None] | None = None,
    min_recall: float | None = None,
    on_measured: Callable[[RecallCurve], None] = lambda _: None,
) -> bool:
    """Build the index if the share of embedded rows has reached `index.min_coverage`; return whether it was built.

    Inserting vectors into an existing index is many times slower, so the index is built after the rows are embedded.

    Args:
        column: The vector column; it need not exist yet.
        replace: Whether to build an index in place of one that differs from the configuration.
        on_progress: Receives the completed share, from 0 to 1, about once per second.
        min_recall: The recall that an index must have to take the place of another one; None for any.
        on_measured: Receives the recall of an index that takes the place of another one.

    Raises:
        RecallTooLow: The new index has a lower recall than `min_recall`, or it could not be measured. Both are kept.
        CoverageTooLow: Too few rows have a vector, or the table has no vector column yet.
        TableError: The server cannot index this column, or the existing index differs and `replace` is false.
    """
    _check_coverage(column)
    vectors = vectors_of(column)
    index = VectorIndex(vectors)

    def measure(name: str) -> None:
        curve = measure_recall(column, efforts=[effort] if effort else [default], index=name)
        on_measured(curve)
        if min_recall is not None:
            _check_recall(name, curve, min_recall)

    effort, default = (column.spec.index or IndexSpec()).effort, NearestNeighbors(vectors).effort.default
    return index.build(replace=replace, on_progress=on_progress, on_replacement=measure)


def build_text_index_when_covered(column: BoundColumn) -> bool:
    """Build the text index if enough rows have a vector, as `build_when_covered`; return whether it was built.

    While rows are embedded, each vector that is written would add the row to the text index again.

    Raises:
        CoverageTooLow: Too few rows have a vector, or the table has no vector column yet.
        ConfigurationError: The entry has no text index.
        TableError: No column of the input can be part of a text index.
    """
    _check_coverage(column)
    return TextIndex(column).build()


def _check_coverage(column: BoundColumn) -> None:
    spec = column.spec
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


def _check_recall(index: str, curve: RecallCurve, min_recall: float) -> None:
    measured = curve.measurements[0]
    if measured.used_index and measured.recall >= min_recall:
        return
    found = (
        f"has a recall of {measured.recall:.3f}; {min_recall:g} is required"
        if measured.used_index
        else "could not be measured, because the server did not use it for all searches"
    )
    raise RecallTooLow(
        f"The new index {index} {found}. The old index is still in use, and both are kept. {RecallTooLow.remedy}"
    )
