"""`crdbvec embed`: the same refresh as the assets, in this process."""

from dataclasses import dataclass

import click

from crdbvec_pipelines.cli.embed_output import line_a_row, numbers, say_large_backfill, summary
from crdbvec_pipelines.cli.follow import follow_target
from crdbvec_pipelines.cli.output import print_json, progress, say, seconds_text
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.rows import RowCounts, VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.indexing import open_index
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh import RefreshReport, refresh

_EVERYTHING = KeyRange()


@click.command()
@column_options
@click.option("-b", "--batch-size", type=click.IntRange(1, 10_000), help="Rows of one read, encode and write.")
@click.option("-n", "--num-batches", type=click.IntRange(1), help="Stop after so many batches.  [default: all]")
@click.option("-w", "--workers", type=click.IntRange(1, 64), help="Batches that are encoded at once.")
@click.option("-F", "--follow", is_flag=True, help="Go on with new rows as they come, until stopped.")
@click.option("--max-idle", type=click.FloatRange(0), help="With -F: end after so many seconds without work.")
@click.option("--rebuild-index", is_flag=True, help="Drop the vector index, embed, and build the index again.")
@click.option("-v", "--verbose", is_flag=True, help="One line a row.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    selection: Selection,
    batch_size: int | None,
    num_batches: int | None,
    workers: int | None,
    follow: bool,
    max_idle: float | None,
    rebuild_index: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Embed the pending rows of a table.

    Pending are rows with an input and no vector, or with a vector made from another input or by another model. The
    vector column and what it needs are created when missing. Stopping at any moment is safe: run it again.
    """
    if follow and (num_batches is not None or rebuild_index):
        raise click.UsageError("-F follows without end; -n and --rebuild-index are for a run that ends.")
    if max_idle is not None and not follow:
        raise click.UsageError("--max-idle says when following ends; give -F with it.")
    if rebuild_index and num_batches is not None:
        raise click.UsageError("--rebuild-index embeds all that is pending before it builds; give it without -n.")
    target = selection.resolve(batch_size=batch_size, workers=workers)
    if follow:
        report = follow_target(target, max_idle, line_a_row if verbose else None)
        if as_json:
            print_json(numbers(report))
        else:
            seconds = seconds_text(report.seconds)
            click.echo(f"{report.rows_embedded:,} rows embedded in {seconds}, {report.rows_failed:,} failed.")
        return
    with target.open() as database:
        target.check(database)
        work = _Work(database, target, num_batches, rebuild_index, verbose)
        results = [(column, *work.embed(column)) for column in target.columns]
    if as_json:
        _print_json(results)
    else:
        for column, report, counts in results:
            click.echo(summary(column, report, counts))


@dataclass(frozen=True)
class _Work:
    database: Database
    target: Target
    num_batches: int | None
    rebuild_index: bool
    verbose: bool

    def embed(self, column: VectorColumn) -> tuple[RefreshReport, RowCounts]:
        encoder = self.target.registry.load(column.model)
        rows = self._open(column, encoder)
        pending = rows.count(_EVERYTHING).pending
        index = open_index(self.database, column, encoder)
        is_indexed = index.name in index.existing()
        if is_indexed and self.rebuild_index:
            index.drop()
            rows = self._open(column, encoder)
        elif is_indexed:
            say_large_backfill(column, pending, index.name)
        report = self._refresh(rows, encoder, pending)
        if self.rebuild_index:
            # Also where there is none: an earlier run may have been stopped between dropping and building.
            index.build()
        return report, rows.count(_EVERYTHING)

    def _open(self, column: VectorColumn, encoder: Encoder) -> VectorRows:
        existed = column.output in read_table(self.database, column.table).columns
        table = ensure_schema(self.database, column, encoder.dim, encoder.model_id)
        if self.verbose:
            say(f"Column {column.output} {'already exists' if existed else 'created'}")
        return VectorRows(self.database, table, column, encoder.model_id)

    def _refresh(self, rows: VectorRows, encoder: Encoder, pending: int) -> RefreshReport:
        column = rows.spec
        total = pending if self.num_batches is None else min(pending, self.num_batches * column.batch_size)
        with progress(str(column), total, shown=not self.verbose) as advance:
            return refresh(
                rows,
                encoder,
                _EVERYTHING,
                batch_size=column.batch_size,
                workers=column.workers,
                max_batches=self.num_batches,
                on_batch=line_a_row if self.verbose else lambda batch: advance(len(batch.rows)),
            )


def _print_json(results: list[tuple[VectorColumn, RefreshReport, RowCounts]]) -> None:
    print_json(
        {
            **numbers(sum((report for _, report, _ in results), RefreshReport())),
            "rows_pending": sum(counts.pending for *_, counts in results),
            "rows_blank": sum(counts.blank for *_, counts in results),
            "vectors": [
                {"table": str(column.table), "output": column.output, "model": column.model, **numbers(report)}
                for column, report, _ in results
            ],
        }
    )
