"""`crdbvec embed`: the same refresh as the assets, in this process."""

from collections.abc import Callable
from dataclasses import asdict

import click

from crdbvec_pipelines.cli.follow import follow_target
from crdbvec_pipelines.cli.output import key_text, print_json, progress, seconds_text, stderr
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import RowCounts, VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh import BatchDone, RefreshReport, refresh

_SHOWN_OF_TEXT = 40


@click.command()
@column_options
@click.option("-b", "--batch-size", type=click.IntRange(1, 10_000), help="Rows of one read, encode and write.")
@click.option("-n", "--num-batches", type=click.IntRange(1), help="Stop after so many batches.  [default: all]")
@click.option("-w", "--workers", type=click.IntRange(1, 64), help="Batches that are encoded at once.")
@click.option("-F", "--follow", is_flag=True, help="Go on with new rows as they come, until stopped.")
@click.option("--max-idle", type=click.FloatRange(0), help="With -F: end after so many seconds without work.")
@click.option("-v", "--verbose", is_flag=True, help="One line a row.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    selection: Selection,
    batch_size: int | None,
    num_batches: int | None,
    workers: int | None,
    follow: bool,
    max_idle: float | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Embed the pending rows of a table.

    Pending are rows with an input and no vector, or with a vector made from another input or by another model. The
    vector column and what it needs are created when missing. Stopping at any moment is safe: run it again.
    """
    if follow and num_batches is not None:
        raise click.UsageError("-F follows without end and -n stops after some batches; give one of them.")
    if max_idle is not None and not follow:
        raise click.UsageError("--max-idle says when following ends; give -F with it.")
    target = selection.resolve(batch_size=batch_size, workers=workers)
    if follow:
        report = follow_target(target, max_idle, line_a_row if verbose else None)
        if as_json:
            print_json(_numbers(report))
        else:
            seconds = seconds_text(report.seconds)
            click.echo(f"{report.rows_embedded:,} rows embedded in {seconds}, {report.rows_failed:,} failed.")
        return
    with target.open() as database:
        reports = [
            _embed(database, target, column, num_batches, verbose=verbose, as_json=as_json) for column in target.columns
        ]
    if as_json:
        total = sum((report for report, _ in reports), RefreshReport())
        print_json(
            {
                **_numbers(total),
                "rows_pending": sum(counts.pending for _, counts in reports),
                "rows_blank": sum(counts.blank for _, counts in reports),
                "vectors": [
                    {"table": str(column.table), "output": column.output, "model": column.model, **_numbers(report)}
                    for column, (report, _) in zip(target.columns, reports, strict=True)
                ],
            }
        )


def _embed(
    database: Database,
    target: Target,
    column: VectorColumn,
    num_batches: int | None,
    *,
    verbose: bool,
    as_json: bool,
) -> tuple[RefreshReport, RowCounts]:
    encoder = target.registry.load(column.model)
    existed = column.output in _columns(database, column)
    rows = VectorRows(
        database, ensure_schema(database, column, encoder.dim, encoder.model_id), column, encoder.model_id
    )
    if verbose:
        stderr.print(f"[INFO] Column {column.output} {'already exists' if existed else 'created'}", markup=False)
    everything = KeyRange()
    pending = rows.count(everything).pending
    if num_batches is not None:
        pending = min(pending, num_batches * column.batch_size)
    with progress(str(column), pending, shown=not verbose and stderr.is_terminal) as advance:
        report = refresh(
            rows,
            encoder,
            everything,
            batch_size=column.batch_size,
            workers=column.workers,
            max_batches=num_batches,
            on_batch=line_a_row if verbose else _advance(advance),
        )
    counts = rows.count(everything)
    if not as_json:
        click.echo(_summary(column, report, counts))
    return report, counts


def _columns(database: Database, column: VectorColumn) -> set[str]:
    from crdbvec_pipelines.database.introspect import read_table

    return set(read_table(database, column.table).columns)


def _advance(advance: Callable[[int], None]) -> Callable[[BatchDone], None]:
    return lambda batch: advance(len(batch.rows))


def line_a_row(batch: BatchDone) -> None:
    """One line a row, as users of the toolkit know it."""
    for number, row in enumerate(batch.rows, start=1):
        text = str(row.input)[:_SHOWN_OF_TEXT]
        stderr.print(
            f"[INFO] (batch {batch.index}, {number}/{len(batch.rows)}) "
            f"Updating vector for row id {key_text(row.key)}: {text!r}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _summary(column: VectorColumn, report: RefreshReport, counts: RowCounts) -> str:
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


def _numbers(report: RefreshReport) -> dict[str, object]:
    return {**asdict(report), "rows_per_second": round(report.rows_per_second, 1)}
