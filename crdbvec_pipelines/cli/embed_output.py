"""The output of `crdbvec embed`: one line per row, a summary, and a hint about an index that slows down a backfill."""

from collections.abc import Iterable
from dataclasses import asdict

import click

from crdbvec_pipelines.cli.output import cost_text, failed_text, print_info
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows.row_counts import RowCounts
from crdbvec_pipelines.refresh.report import RefreshReport, WrittenBatch
from crdbvec_pipelines.value_text import key_text

# As in the CockroachDB Vector Embedding Toolkit.
_SHOWN_CHARACTERS = 40
# High enough that routine edits do not show the hint. The break-even was not measured.
LARGE_BACKFILL_ROWS = 10_000


def print_rows(batch: WrittenBatch) -> None:
    """Print the lines of a batch in the format of the toolkit, when it has been written.

    The lines contain input text, so they are never logged.
    """
    if not batch.is_late:
        print_info(f"Run 1, Batch {batch.index} starting ({len(batch.rows)} rows)")
    # The lines of late rows were printed with their batch.
    for number, row in enumerate(() if batch.is_late else batch.rows, start=1):
        text = str(row.input)[:_SHOWN_CHARACTERS]
        print_info(
            f"(batch {batch.index}, {number}/{len(batch.rows)}) "
            f"Updating vector for row id {key_text(row.key)}: {text!r}"
        )


def print_done(seconds: float) -> None:
    """Print the last two lines of the toolkit, which scripts look for."""
    click.echo(f"Done in {seconds:.3f} seconds", err=True)
    print_info("Vectorization complete.")


def print_large_backfill_hint(column: VectorColumn, pending: int, index: str) -> None:
    """Suggest --rebuild-index if a large backfill would update the index row by row."""
    if pending >= LARGE_BACKFILL_ROWS:
        print_info(
            f"{pending:,} rows of {column.table} are pending, and the index {index} is updated row by row. With "
            "--rebuild-index it is dropped and built again after embedding; until then, searches use an exact scan."
        )


def summary(column: VectorColumn, report: RefreshReport, counts: RowCounts) -> str:
    """Return one sentence with the counts of the refresh and of the table."""
    parts = [
        f"{column}: {report.rows_embedded:,} rows embedded in {report.seconds:.1f} s "
        f"({report.rows_per_second:,.0f} rows/s), {counts.embedded:,} of {counts.rows:,} have a vector, "
        f"{counts.pending:,} pending"
    ]
    parts[0] += tokens_text(report, column.price_of(report.tokens_encoded))
    # Those of earlier runs, too; they were recorded before they were counted.
    if failed := failed_text(max(counts.failed, report.rows_failed), counts.deferred):
        parts.append(failed)
    exceptions = {
        "blank and skipped": counts.blank,
        "truncated to the model's maximum input length": report.rows_truncated,
        "unreadable because the model does not know their words": report.rows_unreadable,
        "edited during encoding and still pending": report.rows_changed,
        "locked by other transactions and still pending": report.rows_locked,
        "cleared because their input is gone": report.rows_cleared,
    }
    return ", ".join(parts + [f"{count:,} {outcome}" for outcome, count in exceptions.items() if count]) + "."


def tokens_text(report: RefreshReport, cost: float | None) -> str:
    """Return the tokens of a refresh and their price as a part of a sentence; empty if the price is not known."""
    return "" if cost is None else f", {report.tokens_encoded:,} tokens for {cost_text(cost)}"


def cost_of(reports: Iterable[tuple[VectorColumn, RefreshReport]]) -> float | None:
    """Return the price of the tokens of refreshes; None if the price of no vector column is known."""
    costs = [cost for column, report in reports if (cost := column.price_of(report.tokens_encoded)) is not None]
    return sum(costs) if costs else None


def numbers(report: RefreshReport, cost: float | None) -> dict[str, object]:
    """Return the counts of a report and the price of its tokens for JSON output."""
    counts = {**asdict(report), "rows_per_second": round(report.rows_per_second, 1), "cost": cost}
    del counts["pictures"]
    return {**counts, "pictures": report.pictures.numbers} if report.pictures else counts
