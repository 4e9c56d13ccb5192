"""The steps of a model migration that change the schema: its start, the exchange of the columns, and its end.

Each step can be repeated: the record in `crdbvec_migrations` and the catalog show what is left to be done.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.table import chunk_table_name
from crdbvec_pipelines.database.column import BoundColumn, ModelIdentity
from crdbvec_pipelines.database.connection import Database, Parameters
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.errors import DatabaseUnavailable, TableError
from crdbvec_pipelines.database.index.statements import rename_index
from crdbvec_pipelines.database.schema.column_metadata import models_beginning_with, models_of, select_models
from crdbvec_pipelines.database.schema.column_objects import (
    OwnTables,
    exchanged,
    in_order,
    own_tables,
)
from crdbvec_pipelines.database.schema.ddl import retry_when_locked
from crdbvec_pipelines.database.schema.grants import missing_grants
from crdbvec_pipelines.database.schema.migration_statements import (
    column_number,
    delete_migration,
    insert_migration,
    list_key_constraints,
    lock_table,
    lock_writers,
    move_row_errors,
    rename_columns,
    rename_constraint,
    rename_table,
    set_migration_phase,
    set_models,
)
from crdbvec_pipelines.database.schema.migrations import Migration, Phase, find_migration
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.schema.stepwise_renames import rename_in_steps
from crdbvec_pipelines.database.schema.uninstall import plan_uninstallation, uninstall
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.table import Table, read_table, read_table_oid

_Step = tuple[Statement, Parameters | None]

# How often the renames are continued after a lost connection.
_MAX_ATTEMPTS = 3


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
    taken = f"a column {second.output}" if second.output in table.columns else None
    if taken is None and second.chunking is not None and read_table_oid(database, chunk_table_name(second)) is not None:
        taken = f"a chunk table {chunk_table_name(second)}"
    if taken is not None:
        raise TableError(f"{table.name} already has {taken}. Choose another column with --second.")
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
            "first_chunks": _json(spec),
            "second_chunks": _json(second),
            "first_chunk_table": None if spec.chunking is None else read_table_oid(database, chunk_table_name(spec)),
        },
    )
    prepare_column(database, second, second_model)
    started = find_migration(database, table.name, spec.output)
    if started is None:
        raise TableError(f"{spec}: the record of the migration is missing. Run the same command again.")
    return started


def exchange_columns(database: Database, migration: Migration, *, back: bool = False) -> Exchange:
    """Exchange the two columns of a migration, with their fingerprints, chunk tables, indexes, models and failed rows.

    On PostgreSQL it is one transaction, whose last statements lock the tables. CockroachDB has no transaction of
    several schema changes: until everything is renamed, no model is recorded for either column, so that neither
    searches nor writes of this project use them.

    Args:
        database: The database.
        migration: The migration in the phase before.
        back: Whether the vectors of the old model become those of the column of the entry again.
    """
    table = read_table(database, migration.table)
    target: Phase = "started" if back else "switched"
    if database.dialect.renames_columns_together:
        return _exchange_in_steps(database, migration, table, target)
    tables = own_tables(database, table, migration.entries)
    _copy_grants(database, tables)
    steps = [*_record_steps(migration, back=back)]
    steps += _index_steps(database, tables, are_exchanged=False)
    # The columns of the table are the last ones: it is the one that applications use most.
    steps += _locks(tables)
    for own in reversed(tables):
        steps += _table_steps(database, own)
    started = time.perf_counter()
    done = retry_when_locked(
        database.execute_together,
        _phase_step(migration, target),
        steps,
        _lock_settings(database, tables),
    )
    return Exchange(done, time.perf_counter() - started)


def _copy_grants(database: Database, tables: Sequence[OwnTables]) -> None:
    """Grant the roles of applications on the column that takes the place of the other one what they may do with it."""
    for own in tables:
        for statement in missing_grants(database, own):
            database.execute(statement)


def _lock_settings(database: Database, tables: Sequence[OwnTables]) -> Settings:
    return database.dialect.ddl_lock_settings if len(tables) == 1 else database.dialect.several_locks_settings


def _locks(tables: Sequence[OwnTables]) -> Iterator[_Step]:
    """Yield the statements that lock the tables of columns with chunks, so that no other session gets a deadlock.

    Writers need the source table first and then the chunk tables, searches need them the other way round. So writers
    are kept out first, then searches, and the renames then wait for no session that waits for this transaction. For
    sessions that lock in another order, such as a transaction that reads chunks and then writes rows, each wait has a
    short timeout.
    """
    source, *chunk_tables = tables
    if chunk_tables:
        yield lock_writers(source.first.table), None
    for own in chunk_tables:
        for each in (own.second, own.first):
            yield lock_table(each.table), None


def _table_steps(database: Database, own: OwnTables) -> Iterator[_Step]:
    """Yield the statements that exchange the columns of one or two tables, and the names of the tables if they are two.

    PostgreSQL renames one column in a statement.
    """
    for table, renames in own.column_renames():
        for rename in renames:
            yield rename_columns(table, [rename]), None
    if own.are_one:
        return
    tables = {each.table.name.name: each.table for each in (own.first, own.second)}
    first, second = (
        {str(kind): str(name) for kind, name in database.fetch(list_key_constraints(), {"oid": table.oid})}
        for table in tables.values()
    )
    for kind in first.keys() & second.keys():
        owners = dict(zip((first[kind], second[kind]), tables.values(), strict=True))
        for old, new in in_order(exchanged(first[kind], second[kind])):
            table = owners[new] = owners.pop(old)
            yield rename_constraint(table, old, new), None
    schema = own.first.table.name.schema
    for old, new in in_order(exchanged(*tables)):
        yield rename_table(schema, old, new), None


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
        _copy_grants(database, own_tables(database, table, migration.entries))
        if not database.execute_together(_phase_step(migration, interim), hidden):
            return Exchange(False, time.perf_counter() - started)
        migration = _reread(database, migration)
    # After a lost connection, the catalog shows what is left to be done.
    for _ in range(_MAX_ATTEMPTS):
        try:
            rename_in_steps(database, migration, table, back=back)
        except DatabaseUnavailable:
            continue
        break
    tables = own_tables(database, read_table(database, migration.table), migration.entries)
    for statement, parameters in _index_steps(database, tables, are_exchanged=True):
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
    for old, new in in_order(exchanged(migration.output, migration.second)):
        yield move_row_errors(schema), {"table_name": name, "output": old, "new_output": new}


def _index_steps(database: Database, own: Sequence[OwnTables], *, are_exchanged: bool) -> Iterator[_Step]:
    """Yield the statements that rename indexes: those of all tables together, because a schema may have a name once."""
    renames = [each for tables in own for each in tables.index_renames(database, are_exchanged=are_exchanged)]
    owners = {old: table for table, (old, _) in renames}
    for old, new in in_order(dict(rename for _, rename in renames)):
        table = owners[new] = owners.pop(old)
        yield rename_index(database.dialect, table, old, new), None


def _json(spec: VectorColumn) -> str | None:
    return None if spec.chunking is None else spec.chunking.model_dump_json()
