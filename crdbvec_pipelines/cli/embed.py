"""`crdbvec embed`: the refresh that the assets run, in this process."""

import time
from dataclasses import dataclass, replace
from typing import get_args

import click

from crdbvec_pipelines.cli.databases import Databases
from crdbvec_pipelines.cli.embed_output import (
    cost_of,
    numbers,
    print_done,
    print_large_backfill_hint,
    print_rows,
    summary,
    tokens_text,
)
from crdbvec_pipelines.cli.follow import follow_target
from crdbvec_pipelines.cli.output import failed_text, print_info, print_json, print_text, progress, seconds_text
from crdbvec_pipelines.cli.target import Selection, Target, column_names, column_options
from crdbvec_pipelines.config import MAX_BATCH_SIZE, MAX_WORKERS, ExistingVectors, VectorColumn
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.row_counts import RowCounts
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.table import read_table
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import LockedOut, refresh_and_settle
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.telemetry.tracing import traced_run

ROWS_FAILED_EXIT_CODE = 3
"""The command has finished, but rows are recorded as failed, in this or an earlier run."""

_EVERYTHING = KeyRange()


@click.command(epilog="Example: crdbvec embed -t article -o body_vector -b 512")
@column_options
@click.option(
    "-b",
    "--batch-size",
    metavar="N",
    type=click.IntRange(1, MAX_BATCH_SIZE),
    help="Rows to read, encode and write together.",
)
@click.option(
    "-n",
    "--num-batches",
    metavar="N",
    type=click.IntRange(1),
    help="Stop after this many batches.  [default: no limit]",
)
@click.option(
    "-w", "--workers", metavar="N", type=click.IntRange(1, MAX_WORKERS), help="Batches to encode at the same time."
)
@click.option("-F", "--follow", is_flag=True, help="Keep running and embed new rows until stopped.")
@click.option("--max-idle", metavar="SECONDS", type=click.FloatRange(0), help="With -F: exit after this idle time.")
@click.option("--metrics-port", metavar="N", type=click.IntRange(0, 65_535), help="With -F: serve Prometheus metrics.")
@click.option("--rebuild-index", is_flag=True, help="Drop the index, embed, build the index again.")
@click.option(
    "--existing-vectors",
    type=click.Choice(get_args(ExistingVectors)),
    help="What becomes of vectors that the column had before.",
)
@click.option(
    "--reuse-vectors",
    is_flag=True,
    default=None,
    help="Do not encode inputs whose vector is already in the column; creates an index.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print the lines of the toolkit.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def command(
    context: click.Context,
    selection: Selection,
    batch_size: int | None,
    num_batches: int | None,
    workers: int | None,
    follow: bool,
    max_idle: float | None,
    metrics_port: int | None,
    rebuild_index: bool,
    existing_vectors: ExistingVectors | None,
    reuse_vectors: bool | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Embed the pending rows of a table.

    A row is pending if it has an input and no vector, or if its vector was made from an earlier input or by another
    model. The vector column and the objects that it needs are created if they are missing. The command can be
    interrupted at any time; run it again to continue. The exit code is 3 if rows have failed.
    """
    if follow and (num_batches is not None or rebuild_index):
        raise click.UsageError("-F cannot be combined with -n or --rebuild-index.")
    if max_idle is not None and not follow:
        raise click.UsageError("--max-idle requires -F.")
    if metrics_port is not None and not follow:
        raise click.UsageError("--metrics-port requires -F. Runs of Dagster write textfiles (docs/monitoring.md).")
    if rebuild_index and num_batches is not None:
        raise click.UsageError("--rebuild-index embeds all pending rows before it builds the index. Omit -n.")
    target = selection.resolve(
        also_second=True,
        batch_size=batch_size,
        workers=workers,
        existing_vectors=existing_vectors,
        reuse_vectors=reuse_vectors,
    )
    started = time.perf_counter()
    if follow:
        on_batch = print_rows if verbose else lambda _: None
        report, errors, cost = follow_target(target, max_idle, on_batch, metrics_port)
        if verbose:
            print_done(time.perf_counter() - started)
        failed, deferred = sum(each.total for each in errors), sum(each.deferred for each in errors)
        if as_json:
            print_json({**numbers(report, cost), "rows_failed_recorded": failed, "rows_deferred": deferred})
        else:
            seconds = seconds_text(report.seconds)
            recorded = f" Recorded in all runs: {failed_text(failed, deferred)}." if failed else ""
            done = f"{report.rows_embedded:,} rows embedded in {seconds}, {report.rows_failed:,} failed"
            print_text(f"{done}{tokens_text(report, cost)}.{recorded}")
        return
    with target.open() as databases:
        target = target.present(databases, with_second=True)
        target.check(databases)
        embedder = _Embedder(databases, target, num_batches, rebuild_index, verbose)
        results = []
        for column in target.columns:
            with target.naming(column), traced_run(column, "embed"):
                results.append((column, *embedder.embed(column)))
    if as_json:
        _print_json(results)
    else:
        for column, report, counts in results:
            print_text(summary(column, report, counts))
    for column, report, counts in results:
        if report.rows_locked and counts.pending:
            raise LockedOut(min(report.rows_locked, counts.pending), column.table)
    if verbose:
        print_done(time.perf_counter() - started)
    if any(counts.failed for *_, counts in results):
        context.exit(ROWS_FAILED_EXIT_CODE)


@dataclass(frozen=True)
class _Embedder:
    """The embedding of vector columns with the options of one command."""

    databases: Databases
    target: Target
    num_batches: int | None
    rebuild_index: bool
    verbose: bool

    def embed(self, column: VectorColumn) -> tuple[RefreshReport, RowCounts]:
        encoder = self.target.registry.encoder_of(column)
        bound = self._prepare(column, encoder)
        rows = VectorRows(bound)
        pending = rows.count(_EVERYTHING).pending
        index = VectorIndex(vectors_of(bound))
        is_indexed = index.name in index.existing()
        if is_indexed and self.rebuild_index:
            index.drop()
            rows = VectorRows(bound)
        elif is_indexed:
            print_large_backfill_hint(column, pending, index.name)
        report, counts = self._refresh(rows, encoder, pending)
        if self.rebuild_index:
            # Also if the index did not exist: an earlier run may have been interrupted between dropping and building.
            index.build()
        return report, counts

    def _prepare(self, column: VectorColumn, encoder: Encoder) -> BoundColumn:
        database = self.databases.of(column).with_quality_of_service(column.quality_of_service)
        existed = column.output in read_table(database, column.table).columns
        bound = prepare_column(database, column, encoder)
        if self.verbose:
            print_info(f"Column {column.output} {'already exists' if existed else 'created'}")
        return bound

    def _refresh(self, rows: VectorRows, encoder: Encoder, pending: int) -> tuple[RefreshReport, RowCounts]:
        column = rows.spec
        total = pending if self.num_batches is None else min(pending, self.num_batches * column.batch_size)
        with progress(str(column), total, shown=not self.verbose) as advance:
            options = replace(
                options_for(column),
                max_batches=self.num_batches,
                on_batch=print_rows if self.verbose else lambda batch: advance(len(batch.rows) - len(batch.locked)),
            )
            return refresh_and_settle(
                rows,
                encoder,
                _EVERYTHING,
                options,
                lambda: print_info(f"Waiting for another process that is embedding rows of {column.table}."),
            )


def _print_json(results: list[tuple[VectorColumn, RefreshReport, RowCounts]]) -> None:
    print_json(
        {
            **numbers(
                sum((report for _, report, _ in results), RefreshReport()),
                cost_of((column, report) for column, report, _ in results),
            ),
            "rows_pending": sum(counts.pending for *_, counts in results),
            "rows_blank": sum(counts.blank for *_, counts in results),
            "rows_failed_recorded": sum(counts.failed for *_, counts in results),
            "rows_deferred": sum(counts.deferred for *_, counts in results),
            "vectors": [
                {
                    **column_names(column),
                    **numbers(report, cost_of([(column, report)])),
                    "rows_failed_recorded": counts.failed,
                    "rows_deferred": counts.deferred,
                }
                for column, report, counts in results
            ],
        }
    )
