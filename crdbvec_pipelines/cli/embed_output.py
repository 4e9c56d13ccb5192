"""What `crdbvec embed` says: a line a row, a summary, a hint about an index that slows it down."""

from dataclasses import asdict

from crdbvec_pipelines.cli.output import key_text, say
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows import RowCounts
from crdbvec_pipelines.refresh import BatchDone, RefreshReport

_SHOWN_OF_TEXT = 40
# From here on dropping the index, embedding and building it again is worth asking about.
_LARGE_BACKFILL = 10_000


def line_a_row(batch: BatchDone) -> None:
    """One line a row, as users of the toolkit know it. Only for a person at a terminal: it shows the rows' text."""
    for number, row in enumerate(batch.rows, start=1):
        text = str(row.input)[:_SHOWN_OF_TEXT]
        say(
            f"(batch {batch.index}, {number}/{len(batch.rows)}) "
            f"Updating vector for row id {key_text(row.key)}: {text!r}"
        )


def say_large_backfill(column: VectorColumn, pending: int, index: str) -> None:
    """Offers to rebuild the index where a large backfill would keep it up row by row; never does so unasked."""
    if pending >= _LARGE_BACKFILL:
        say(
            f"{pending:,} rows of {column.table} are pending, and the index {index} is kept up row by row; "
            "--rebuild-index drops it, embeds, and builds it again. Until then searches are exact."
        )


def summary(column: VectorColumn, report: RefreshReport, counts: RowCounts) -> str:
    """What was done and what the table now holds, in one sentence."""
    parts = [
        f"{column}: {report.rows_embedded:,} rows embedded in {report.seconds:.1f} s "
        f"({report.rows_per_second:,.0f} rows/s), {counts.embedded:,} of {counts.rows:,} have a vector, "
        f"{counts.pending:,} pending"
    ]
    told = {
        "failed (see crdbvec errors list)": report.rows_failed,
        "blank and skipped": counts.blank,
        "truncated to the model's window": report.rows_truncated,
        "edited meanwhile and still pending": report.rows_changed,
        "cleared since their input is gone": report.rows_cleared,
    }
    return ", ".join(parts + [f"{number:,} {what}" for what, number in told.items() if number]) + "."


def numbers(report: RefreshReport) -> dict[str, object]:
    """A report's counts for JSON."""
    return {**asdict(report), "rows_per_second": round(report.rows_per_second, 1)}
