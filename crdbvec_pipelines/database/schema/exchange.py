"""The steps of a model migration that change the schema: its start, the exchange of the columns, and its end.

Each step can be repeated: the record in `crdbvec_migrations` and the catalog show what is left to be done.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, ModelIdentity
from crdbvec_pipelines.database.connection import Database, Parameters
from crdbvec_pipelines.database.errors import DatabaseUnavailable, TableError
from crdbvec_pipelines.database.identifiers import short_name
from crdbvec_pipelines.database.index.statements import rename_index, vector_index_name
from crdbvec_pipelines.database.schema.column_metadata import models_beginning_with, models_of, select_models
from crdbvec_pipelines.database.schema.ddl import retry_when_locked
from crdbvec_pipelines.database.schema.migration_statements import (
    column_number,
    delete_migration,
    insert_migration,
    move_row_errors,
    rename_columns,
    set_migration_phase,
    set_models,
)
from crdbvec_pipelines.database.schema.migrations import Migration, Phase, find_migration
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.schema.statements import pending_index_name, table_indexes
from crdbvec_pipelines.database.schema.uninstall import plan_uninstallation, uninstall
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.table import Table, read_table

_Step = tuple[Statement, Parameters | None]


@dataclass(frozen=True)
class Exchange:
    """The result of an exchange.

    Attributes:
        has_exchanged: Whether this call exchanged the columns; False if another one had done so.
        seconds: The duration of the transaction, during part of which the table is locked.
    """

    has_exchanged: bool
    seconds: float


def start_migration(column: BoundColumn, second: VectorColumn, second_model: ModelIdentity) -> Migration:
    """Record a migration, and add the second vector column with everything that a vector column has.

    Args:
        column: The vector column as it is.
        second: The entry of the second column, whose model is the new one.
        second_model: The new model.

    Raises:
        TableError: The column is not prepared, is being migrated already, or the second column exists.
    """
    database, table, spec = column.database, column.table, column.spec
    found = find_migration(database, table.name, spec.output)
    wanted = (second.output, spec.model, second.model)
    if found is not None and found.phase != "finished":
        if found.phase != "started" or (found.second, found.first_model, found.second_model) != wanted:
            raise TableError(
                f"{spec} is being migrated from {found.first_model} to {found.second_model} already (phase "
                f"{found.phase}). Run `crdbvec migrate status`."
            )
        prepare_column(database, second, second_model)
        return found
    if second.output in table.columns:
        raise TableError(f"{table.name} already has a column {second.output}. Choose another one with --second.")
    models = database.fetch(select_models(table.name.schema), {"table_name": table.name.name, "output": spec.output})
    if not models or not str(models[0][0]).startswith(models_of(column)):
        raise TableError(f"The vectors of {spec} are not recorded as those of {spec.model}. Run `crdbvec embed` first.")
    ((number,),) = database.fetch(column_number(), {"oid": table.oid, "column": spec.output})
    database.execute(
        insert_migration(table.name.schema),
        {
            "table_name": table.name.name,
            "output": spec.output,
            "second": second.output,
            "first_model": spec.model,
            "second_model": second.model,
            "first_models": models[0][0],
            "second_models": f"{models_beginning_with(second_model.model_id)}]",
            "first_column": number,
        },
    )
    prepare_column(database, second, second_model)
    started = find_migration(database, table.name, spec.output)
    if started is None:
        raise TableError(f"{spec}: the record of the migration is missing. Run the same command again.")
    return started


def exchange_columns(database: Database, migration: Migration, *, back: bool = False) -> Exchange:
    """Exchange the two columns of a migration, with their fingerprints, indexes, models and failed rows.

    On PostgreSQL it is one transaction, whose last statements lock the table. CockroachDB has no transaction of several
    schema changes: until the columns are renamed, by one statement, no model is recorded for either column, so that
    neither searches nor writes of this project use them.

    Args:
        database: The database.
        migration: The migration in the phase before.
        back: Whether the vectors of the old model become those of the column of the entry again.
    """
    table = read_table(database, migration.table)
    target: Phase = "started" if back else "switched"
    if database.dialect.renames_columns_together:
        return _exchange_in_steps(database, migration, table, target)
    steps = [*_record_steps(migration, back=back), *_index_steps(database, migration, table)]
    # The columns are the last ones, because they lock the table.
    steps += [(rename_columns(table, [rename]), None) for rename in _column_renames(migration, table)]
    started = time.perf_counter()
    done = retry_when_locked(database.execute_together, _phase_step(migration, target), steps)
    return Exchange(done, time.perf_counter() - started)


def _exchange_in_steps(database: Database, migration: Migration, table: Table, target: Phase) -> Exchange:
    started = time.perf_counter()
    back = target == "started"
    interim: Phase = "rolling back" if back else "switching"
    schema, name = table.name.schema, table.name.name
    if not migration.is_exchanging:
        hidden: list[_Step] = [
            (set_models(schema), {"table_name": name, "output": output, "models": "[]"})
            for output in (migration.output, migration.second)
        ]
        if not database.execute_together(_phase_step(migration, interim), hidden):
            return Exchange(False, time.perf_counter() - started)
        migration = _reread(database, migration)
    # After a lost connection, the catalog shows whether the columns are exchanged.
    for _ in range(3):
        if _is_exchanged(database, migration, table) != back:
            break
        try:
            database.execute_once(rename_columns(table, _column_renames(migration, table)))
        except DatabaseUnavailable:
            continue
    for statement, parameters in _index_steps(database, migration, table):
        database.execute(statement, parameters)
    done = database.execute_together(_phase_step(migration, target), list(_record_steps(migration, back=back)))
    return Exchange(done, time.perf_counter() - started)


def finish_migration(column: BoundColumn, migration: Migration, *, abandon: bool) -> None:
    """Drop the second column with its fingerprint, indexes, part of the trigger, failed rows and record.

    Args:
        column: The second column.
        migration: The migration.
        abandon: Whether the second column contains the new vectors, and the migration is given up.
    """
    database = column.database
    if not abandon and migration.phase != "finishing":
        first, parameters = _phase_step(migration, "finishing")
        database.execute(first, parameters)
        migration = _reread(database, migration)
    uninstall(database, plan_uninstallation(column, with_vectors=True))
    if abandon:
        database.execute(delete_migration(migration.table.schema), migration.key)
        return
    first, parameters = _phase_step(migration, "finished")
    database.execute(first, parameters)


def _reread(database: Database, migration: Migration) -> Migration:
    found = find_migration(database, migration.table, migration.output)
    if found is None:
        raise TableError(f"The migration of {migration.table}.{migration.output} was removed by another process.")
    return found


def _is_exchanged(database: Database, migration: Migration, table: Table) -> bool:
    """Return whether the column of the entry is the one that was added for the new model."""
    found = database.fetch(column_number(), {"oid": table.oid, "column": migration.output})
    return [row[0] for row in found] != [migration.first_column]


def _phase_step(migration: Migration, phase: Phase) -> tuple[Statement, Parameters]:
    return set_migration_phase(migration.table.schema), {
        **migration.key,
        "phase": migration.phase,
        "next_phase": phase,
    }


def _record_steps(migration: Migration, *, back: bool) -> Iterator[_Step]:
    """Yield the statements that exchange what is recorded about the two columns."""
    schema, name = migration.table.schema, migration.table.name
    own, other = migration.second_models, migration.first_models
    if back:
        own, other = other, own
    for output, models in ((migration.output, own), (migration.second, other)):
        yield set_models(schema), {"table_name": name, "output": output, "models": models}
    for old, new in _exchanged(migration.output, migration.second):
        yield move_row_errors(schema), {"table_name": name, "output": old, "new_output": new}


def _column_renames(migration: Migration, table: Table) -> list[tuple[str, str]]:
    renames = list(_exchanged(migration.output, migration.second))
    first, second = (f"{name}_fingerprint" for name in (migration.output, migration.second))
    if {first, second} <= table.columns.keys():
        renames += _exchanged(first, second)
    return renames


def _index_steps(database: Database, migration: Migration, table: Table) -> Iterator[_Step]:
    """Yield the statements that exchange the names of the indexes, so that each has that of its column again."""
    present = {name for name, *_ in database.fetch(table_indexes(database.dialect), {"oid": table.oid})}
    for name_of in (vector_index_name, pending_index_name):
        first, second = (name_of(_named(migration, output)) for output in (migration.output, migration.second))
        if {first, second} <= present:
            for old, new in _exchanged(first, second):
                yield rename_index(database.dialect, table, old, new), None
        elif first in present or second in present:
            old, new = (first, second) if first in present else (second, first)
            yield rename_index(database.dialect, table, old, new), None


def _named(migration: Migration, output: str) -> VectorColumn:
    return VectorColumn.model_construct(table=migration.table, output=output, model=migration.second_model)


def _exchanged(first: str, second: str) -> Iterator[tuple[str, str]]:
    """Yield the renames that exchange two names."""
    interim = short_name(first, "crdbvec_exchanged")
    yield first, interim
    yield second, first
    yield interim, second
