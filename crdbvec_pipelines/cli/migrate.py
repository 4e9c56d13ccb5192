"""`crdbvec migrate`: another model for a vector column while applications continue to use it."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from crdbvec_pipelines.cli.databases import Databases
from crdbvec_pipelines.cli.migrate_output import (
    comparison_json,
    comparison_lines,
    estimate_lines,
    migration_json,
    next_step,
    state_lines,
)
from crdbvec_pipelines.cli.output import print_info, print_json, print_text
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, bind_column, open_existing_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.exchange import exchange_columns, finish_migration, start_migration
from crdbvec_pipelines.database.schema.migrations import Migration, find_migration, present_column
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.comparison import DEFAULT_K, DEFAULT_SAMPLE, compare_columns
from crdbvec_pipelines.search.migration import read_readiness, wait_until_ready

_WAIT_SECONDS = 30.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
wait_option = click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=_WAIT_SECONDS,
    show_default=True,
    help="How long to wait for rows that have only one of the two vectors.",
)


@click.group(epilog="Example: crdbvec migrate start -t article -m another_model")
def command() -> None:
    """Change the model of a vector column without an outage."""


@dataclass(frozen=True)
class _Migrated:
    """The migration that a command works on, with both columns as they are now."""

    database: Database
    target: Target
    migration: Migration
    own: VectorColumn
    other: VectorColumn

    def bound(self, column: VectorColumn) -> BoundColumn:
        working = self.database.with_quality_of_service(column.quality_of_service)
        return open_existing_column(working, column, self.target.registry.encoder_of(column))


@command.command("start", epilog="Example: crdbvec migrate start -t article -m another_model --plan")
@column_options
@click.option("--second", help="The name of the second column.  [default: <output>_second]")
@click.option("--old-model", help="The present model, if there is no configuration file.")
@click.option("--plan", "only_plan", is_flag=True, help="Print the estimate, and change nothing.")
@json_option
def start(selection: Selection, second: str | None, old_model: str | None, only_plan: bool, as_json: bool) -> None:
    """Open a migration to the model that -m names.

    Adds a second vector column, which `crdbvec embed` and the follow process fill and keep fresh from then on, as they
    do the first one. Run `crdbvec migrate status` to see what comes next.
    """
    if selection.model is None:
        raise click.UsageError("Name the new model with -m.")
    target = replace(selection, model=old_model).resolve()
    entry = target.column
    if entry.chunking is not None:
        raise ConfigurationError(
            f"{entry} has long_inputs: chunks, and migrations exchange vector columns of the same table only. Add an "
            "entry with another output and the new model, embed it, and search it in place of the old one."
        )
    target.registry.find(selection.model)
    with target.open() as databases:
        database = databases.of(entry)
        column = present_column(database, entry)
        if column.model == selection.model:
            raise ConfigurationError(f"The model of {column} is {column.model} already. Name another one with -m.")
        index = column.index.model_copy(update={"metric": None}) if column.index else None
        changes = {"output": second or f"{column.output}_second", "model": selection.model, "index": index}
        wanted = VectorColumn.model_validate({**column.model_dump(exclude_defaults=True), "table": str(column.table)})
        wanted = wanted.model_copy(update=changes)
        encoder = target.registry.encoder_of(wanted)
        if only_plan:
            # Imported here, because the other commands need no estimate.
            from crdbvec_pipelines.estimate import estimate_refresh

            estimate = estimate_refresh(database.with_quality_of_service(wanted.quality_of_service), wanted, encoder)
            if as_json:
                print_json({"second": wanted.output, "model": wanted.model, **asdict(estimate)})
            else:
                print_text("\n".join(estimate_lines(wanted, estimate)))
            return
        bound = open_existing_column(database, column, target.registry.encoder_of(column))
        migration = start_migration(bound, wanted, encoder)
    if as_json:
        print_json(migration_json(migration))
    else:
        print_text("\n".join(state_lines(migration)))
        print_text(next_step(migration, None))


@command.command("status", epilog="Example: crdbvec migrate status --json")
@column_options
@json_option
def status(selection: Selection, as_json: bool) -> None:
    """Show the migrations of the vector columns, and what comes next.

    Changes nothing.
    """
    target = selection.resolve(also_second=True)
    found = []
    with target.open() as databases:
        for entry in target.columns:
            database = databases.of(entry)
            migration = find_migration(database, entry.table, target.output or entry.output)
            if migration is None:
                continue
            readiness = None
            if migration.is_active and not migration.is_exchanging:
                migrated = _migrated(databases, replace(target, columns=(entry,)), migration)
                other = bind_column(database, migrated.other, target.registry.encoder_of(migrated.other))
                if other.exists:
                    readiness = read_readiness(migrated.bound(migrated.own), migrated.bound(migrated.other))
            found.append((migration, readiness))
    if as_json:
        print_json([{**migration_json(each), **(asdict(ready) if ready else {})} for each, ready in found])
        return
    if not found:
        print_text("No vector column is being migrated.")
    for migration, readiness in found:
        print_text("\n".join([*state_lines(migration, readiness), next_step(migration, readiness)]))


@command.command("compare", epilog="Example: crdbvec migrate compare -t article --queries-file questions.txt")
@column_options
@click.option(
    "--queries-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Compare the answers to these questions, one per line, not the neighbors of rows.",
)
@click.option(
    "-q", "--queries", type=click.IntRange(2), default=DEFAULT_SAMPLE, show_default=True, help="Rows of the sample."
)
@click.option("-k", "k", type=click.IntRange(1), default=DEFAULT_K, show_default=True, help="Nearest rows to compare.")
@click.option("--show-text", is_flag=True, help="Print the inputs of the rows, too, not only their keys.")
@json_option
def compare(
    selection: Selection, queries_file: Path | None, queries: int, k: int, show_text: bool, as_json: bool
) -> None:
    """Measure how searches of the two columns differ.

    Prints the overlap of the nearest rows and the correlation of their ranks with confidence intervals, latency,
    distances and storage, and the queries that differ most.
    """
    questions = []
    if queries_file is not None:
        questions = [line for line in queries_file.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not questions:
            raise ConfigurationError(f"{queries_file} contains no question. Write one per line.")
    target = selection.resolve(also_second=True)
    with target.open() as databases:
        migrated = _active(databases, target)
        columns = migrated.bound(migrated.own), migrated.bound(migrated.other)
        encoders = target.registry.encoder_of(migrated.own), target.registry.encoder_of(migrated.other)
        compared = compare_columns(columns, encoders, questions=questions, sample=queries, k=k)
    texts = compared.inputs if show_text else {}
    names = (migrated.own, migrated.other)
    if as_json:
        print_json(comparison_json(names, compared, with_inputs=show_text))
        return
    print_text("\n".join(comparison_lines(names, compared, texts)))


@command.command("switch", epilog="Example: crdbvec migrate switch -t article")
@column_options
@wait_option
@json_option
def switch(selection: Selection, wait: float, as_json: bool) -> None:
    """Write the new vectors under the name of the old ones.

    Exchanges the two columns by renaming them, so that the SQL of applications uses the new vectors. Both columns stay
    fresh. The command ends with an error if rows lack a new vector, or an index is missing.
    """
    _exchange(selection, wait, as_json, back=False)


@command.command("rollback", epilog="Example: crdbvec migrate rollback -t article")
@column_options
@wait_option
@json_option
def rollback(selection: Selection, wait: float, as_json: bool) -> None:
    """Write the old vectors under their name again, after a switch.

    Both columns stay fresh, so that the switch can be repeated.
    """
    _exchange(selection, wait, as_json, back=True)


@command.command("finish", epilog="Example: crdbvec migrate finish -t article")
@column_options
@click.option("--abandon", is_flag=True, help="Before a switch: drop the new vectors, and keep the old ones.")
@json_option
def finish(selection: Selection, abandon: bool, as_json: bool) -> None:
    """Remove the column that is no longer used, with its index.

    After a switch, it is the column with the old vectors; then write the new model into crdbvec.yaml.
    """
    target = selection.resolve(also_second=True)
    with target.open() as databases:
        entry = target.column
        database = databases.of(entry)
        migration = _find(database, entry, target.output)
        if migration.phase == "finished":
            raise ConfigurationError(f"The migration of {entry} is finished. There is nothing to remove.")
        if abandon and migration.phase != "started":
            raise ConfigurationError(
                f"The migration of {entry} is {migration.phase}. Run `crdbvec migrate rollback` before --abandon."
            )
        if not abandon and migration.phase not in ("switched", "finishing"):
            raise ConfigurationError(
                f"The migration of {entry} is {migration.phase}, so the old vectors are in use. Run `crdbvec migrate "
                "switch` first, or give --abandon to drop the new vectors."
            )
        model = migration.second_model if abandon else migration.first_model
        second = entry.model_copy(update={"output": migration.second, "model": model})
        finish_migration(bind_column(database, second, target.registry.load(model)), migration, abandon=abandon)
        after = None if abandon else find_migration(database, migration.table, migration.output)
    if as_json:
        print_json({**migration_json(migration), "phase": "abandoned" if after is None else after.phase})
        return
    print_text(f"The column {migration.second} of {migration.table} was dropped with its index and its records.")
    if not abandon:
        print_text(f"Write `model: {migration.second_model}` into the entry of {migration.output}.")


def _exchange(selection: Selection, wait: float, as_json: bool, *, back: bool) -> None:
    target = selection.resolve(also_second=True)
    with target.open() as databases:
        entry = target.column
        database = databases.of(entry)
        migration = _find(database, entry, target.output)
        before, after, interim = (
            ("switched", "started", "rolling back") if back else ("started", "switched", "switching")
        )
        if migration.phase not in (before, interim):
            raise ConfigurationError(
                f"The migration of {entry} is {migration.phase}; it must be {before}. Run `crdbvec migrate status`."
            )
        if migration.phase == before:
            migrated = _migrated(databases, target, migration)
            is_noted: list[int] = []

            def on_wait(behind: int) -> None:
                if not is_noted:
                    print_info(f"Waiting for {behind:,} rows that have only one of the two vectors.")
                is_noted.append(behind)

            wait_until_ready(migrated.bound(migrated.own), migrated.bound(migrated.other), wait, on_wait)
        done = exchange_columns(database, migration, back=back)
        found = find_migration(database, migration.table, migration.output)
    if found is None or found.phase != after:
        raise ConfigurationError(f"Another process works on the migration of {entry}. Run `crdbvec migrate status`.")
    if as_json:
        print_json({**migration_json(found), "seconds": round(done.seconds, 4)})
        return
    model = found.first_model if back else found.second_model
    print_text(f"{found.table}.{found.output} has the vectors of {model} now ({done.seconds:.3f} s).")
    print_text(next_step(found, None))


def _find(database: Database, entry: VectorColumn, output: str | None) -> Migration:
    migration = find_migration(database, entry.table, output or entry.output)
    if migration is None:
        raise ConfigurationError(f"{entry} is not being migrated. Run `crdbvec migrate start -m <new model>`.")
    return migration


def _active(databases: Databases, target: Target) -> _Migrated:
    entry = target.column
    migration = _find(databases.of(entry), entry, target.output)
    if not migration.is_active or migration.is_exchanging:
        raise ConfigurationError(
            f"The migration of {entry} is {migration.phase}, so there are no two columns to compare. Run "
            "`crdbvec migrate status`."
        )
    return _migrated(databases, target, migration)


def _migrated(databases: Databases, target: Target, migration: Migration) -> _Migrated:
    entry = target.column.model_copy(update={"output": migration.output})
    own, other = migration.columns_of(entry)
    return _Migrated(databases.of(entry), target, migration, own, other)
