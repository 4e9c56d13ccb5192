"""`crdbvec demo`: the whole job on 2,000 dictionary glosses, with nothing to set up."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import dagster as dg

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.cli.home import folder_option, open_home
from crdbvec_pipelines.cli.output import progress
from crdbvec_pipelines.cli.search import hit_text
from crdbvec_pipelines.config import VectorColumn, load_config
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.sample import load_sample
from crdbvec_pipelines.database.status import column_counts
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.orchestration.build import build_definitions, build_registry
from crdbvec_pipelines.orchestration.names import names_of
from crdbvec_pipelines.orchestration.partitions import sync_partitions
from crdbvec_pipelines.search import Searcher, Wish

QUERIES = ("a cake eaten for dessert", "a doctor who looks after eyes", "how bright a star is")
_SECONDS_BETWEEN_LOOKS = 0.5
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


@click.command()
@folder_option
@click.option("--rows", type=click.IntRange(1, 2_000), default=2_000, show_default=True, help="Glosses to load.")
def command(folder: Path, rows: int) -> None:
    """Fill a vector column of 2,000 dictionary glosses through Dagster, and search it."""
    home = open_home(folder)
    config = load_config(home.config)
    (column,) = config.vectors
    names = names_of(config)[str(column)]
    encoder = build_registry(config).load(column.model)
    with Database(home.url) as database, dg.DagsterInstance.get() as instance:
        new = load_sample(database, bundled("examples/wordnet/glosses.tsv.gz"), rows)
        click.echo(f"{column.table}: {new:,} glosses loaded into the embedded PostgreSQL in {folder}")
        plan = sync_partitions(instance, database, column, names)
        click.echo(f"{len(plan.keys)} partitions, from {plan.keys[0]} to {plan.keys[-1]}")

        def remaining() -> int:
            return column_counts(database, column, encoder.dim, encoder.model_id).pending

        pending = remaining()
        job = build_definitions(config).resolve_job_def(names.job("encode_in_process"))
        started = time.perf_counter()
        with (
            progress(f"materializing {column.output}", pending, shown=True) as advance,
            _watched(remaining, pending, advance),
        ):
            for key in plan.keys:
                _materialize(job, key, instance)
        seconds = time.perf_counter() - started
        counts = column_counts(database, column, encoder.dim, encoder.model_id)
        click.echo(
            f"coverage {counts.embedded / counts.rows:.1%}: {counts.embedded:,} of {counts.rows:,} rows have a vector, "
            f"{counts.pending:,} pending; {pending:,} embedded in {seconds:.1f} s, {pending / seconds:,.0f} rows/s"
        )
        _show_searches(database, column, encoder)
    click.echo("\nSee the partitions, runs and plots in Dagster's UI on the same data:  make ui   (crdbvec ui)")


def _materialize(job: dg.JobDefinition, key: str, instance: dg.DagsterInstance) -> None:
    result = job.execute_in_process(partition_key=key, instance=instance, run_config=_QUIET, raise_on_error=False)
    if not result.success:
        raise CrdbvecError(
            f"The run of partition {key} failed; open it with crdbvec ui, run {result.run_id[:8]}, to see why."
        )


@contextmanager
def _watched(remaining: Callable[[], int], pending: int, advance: Callable[[int], None]) -> Iterator[None]:
    """Moves the bar by what the table itself says, while the runs work."""
    finished = threading.Event()

    def watch() -> None:
        done = 0
        while not finished.wait(_SECONDS_BETWEEN_LOOKS):
            now = pending - remaining()
            advance(now - done)
            done = now
        advance(pending - remaining() - done)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def _show_searches(database: Database, column: VectorColumn, encoder: Encoder) -> None:
    for found in Searcher(database, column, encoder).texts(QUERIES, Wish(limit=3)):
        click.echo(f"\nsearch: {found.query}")
        for hit in found.hits:
            click.echo(hit_text(hit))
