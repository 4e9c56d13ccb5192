"""`crdbvec demo`: load, embed and search 2,000 dictionary glosses, without any set-up."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import dagster as dg

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.cli.hits import hit_text
from crdbvec_pipelines.cli.home import folder_option, open_home
from crdbvec_pipelines.cli.output import failed_text, progress
from crdbvec_pipelines.cli.signals import raise_if_interrupted
from crdbvec_pipelines.config import VectorColumn, load_config
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.database.sample_table import load_sample
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.embedded import DEFAULT_FOLDER
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import load_registry
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.partitions.sync import sync_partitions
from crdbvec_pipelines.search.searcher import Searcher

QUERIES = ("a cake eaten for dessert", "a doctor who looks after eyes", "how bright a star is")
# Short enough for a smooth progress bar; each poll counts the rows of the table.
_POLL_SECONDS = 0.5
# The event log has all messages, and the error of a failed run.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@click.command(epilog="Example: crdbvec demo --rows 500")
@folder_option
@click.option("--rows", type=click.IntRange(1, 2_000), default=2_000, show_default=True, help="Glosses to load.")
def command(folder: Path, rows: int) -> None:
    """Embed 2,000 dictionary glosses with Dagster and search them."""
    home = open_home(folder)
    config = load_config(home.config)
    (column,) = config.vectors
    names = asset_names(config)[str(column)]
    encoder = load_registry(config).load(column.model)
    with Database(home.url) as database, dg.DagsterInstance.get() as instance:
        new = load_sample(database, bundled("examples/wordnet/glosses.tsv.gz"), rows)
        click.echo(f"{column.table}: {new:,} glosses loaded into the embedded PostgreSQL in {folder}")
        plan = sync_partitions(instance, prepare_column(database, column, encoder), names)
        click.echo(f"{len(plan.keys)} partitions, from {plan.keys[0]} to {plan.keys[-1]}")

        def remaining() -> int:
            return column_counts(open_column(database, column, encoder)).pending

        pending = remaining()
        definitions = build_definitions(config)
        job = definitions.resolve_job_def(names.job("encode_in_process"))
        started = time.perf_counter()
        with (
            progress(f"materializing {column.output}", pending, shown=True) as advance,
            _progress_from_table(remaining, pending, advance),
        ):
            for key in plan.keys:
                _run(job, instance, f"of partition {key}", partition_key=key)
        seconds = time.perf_counter() - started
        counts = column_counts(open_column(database, column, encoder))
        failed = f", {failed_text(counts.failed, counts.deferred)}" if counts.failed else ""
        click.echo(
            f"coverage {counts.embedded / counts.rows:.1%}: {counts.embedded:,} of {counts.rows:,} rows have a vector, "
            f"{counts.pending:,} pending{failed}; {pending:,} embedded in {seconds:.1f} s, "
            f"{pending / seconds:,.0f} rows/s"
        )
        if column.index is not None:
            assets = definitions.resolve_implicit_global_asset_job_def()
            _run(assets.get_subset(asset_selection={dg.AssetKey(names.index)}), instance, "of the index")
            click.echo(f"vector index over {column.output} built")
        _show_searches(database, column, encoder)
    click.echo(f"\n{_next_steps(folder)}")


def _next_steps(folder: Path) -> str:
    """Return what to try next, with the commands as they can be run here."""
    program = "crdbvec" if shutil.which("crdbvec") or Path(sys.argv[0]).name != "crdbvec" else sys.argv[0]
    lines = []
    if folder == DEFAULT_FOLDER:
        # Other commands find the demo there.
        lines += [
            f'Search your own words:              {program} search "a bird that cannot fly" -l 3',
            f"Count the rows, check the set-up:   {program} status    {program} doctor",
        ]
    option = "" if folder == DEFAULT_FOLDER else f" --folder {folder}"
    lines += [
        f"See partitions, runs and plots:     {program} ui{option}",
        f"Embed your own table:               {program} init      (set CRDBVEC_URL to its database first)",
    ]
    return "\n".join(lines)


def _run(job: dg.JobDefinition, instance: dg.DagsterInstance, what: str, partition_key: str | None = None) -> None:
    result = job.execute_in_process(
        partition_key=partition_key, instance=instance, run_config=_QUIET, raise_on_error=False
    )
    if not result.success:
        raise_if_interrupted()
        raise CrdbvecError(
            f"Run {result.run_id[:8]} {what} failed. Run `crdbvec ui` and open the run to see the error."
        )


@contextmanager
def _progress_from_table(remaining: Callable[[], int], pending: int, advance: Callable[[int], None]) -> Iterator[None]:
    """Advance the progress bar by the counts of the table while the runs are in progress."""
    finished = threading.Event()

    def watch() -> None:
        shown = 0
        while not finished.wait(_POLL_SECONDS):
            done = pending - remaining()
            advance(done - shown)
            shown = done
        advance(pending - remaining() - shown)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def _show_searches(database: Database, column: VectorColumn, encoder: Encoder) -> None:
    for result in Searcher(database, column, encoder).search_texts(QUERIES, SearchQuery(limit=3)):
        click.echo(f"\nsearch: {result.query}")
        for hit in result.hits:
            click.echo(hit_text(hit))
