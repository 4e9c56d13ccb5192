"""Changes of the user's schema: vector column, fingerprint column, indexes, trigger, metadata tables.

Only this module and `index` run DDL on the user's tables. Every statement is idempotent and runs in autocommit, and
existing objects are not changed.
"""

import functools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.preparation import (
    chunk_table_changes,
    forget_lost_chunks,
    has_created_chunk_table,
)
from crdbvec_pipelines.database.chunks.statements import add_marker_column
from crdbvec_pipelines.database.chunks.table import bind_chunks, check_chunk_columns, has_chunk_table
from crdbvec_pipelines.database.column import BoundColumn, ModelIdentity, open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError, TableError, is_concurrent_change, is_not_supported
from crdbvec_pipelines.database.limits.connection_slots import limit_connections
from crdbvec_pipelines.database.rows.predicates import unembedded_predicate
from crdbvec_pipelines.database.rows.row_error_statements import ERRORS_TABLE, create_errors_table
from crdbvec_pipelines.database.schema.column_metadata import (
    VECTOR_COLUMNS_TABLE,
    ColumnMetadata,
    create_vector_columns_table,
    read_column_metadata,
    save_column_metadata,
)
from crdbvec_pipelines.database.schema.ddl import change_schema
from crdbvec_pipelines.database.schema.existing_vectors import (
    check_existing_vectors,
    decide_existing_vectors,
    has_existing_vectors,
)
from crdbvec_pipelines.database.schema.metadata_version import installed_version, upgrade_statements
from crdbvec_pipelines.database.schema.migrations import check_present_model
from crdbvec_pipelines.database.schema.own_indexes import OwnIndex, index_changes
from crdbvec_pipelines.database.schema.requirements import check_requirements
from crdbvec_pipelines.database.schema.statements import (
    add_fingerprint_column,
    add_vector_column,
    combine_column_indexes,
    combine_pending_indexes,
    create_column_index,
    create_extension,
    create_pending_index,
    find_leading_index,
    find_metadata_tables,
    list_partitions,
    pending_index_stem,
)
from crdbvec_pipelines.database.schema.table_identity import follow_renamed_tables
from crdbvec_pipelines.database.schema.triggers import (
    create_trigger_function,
    drop_trigger_function,
    has_trigger_function,
    trigger_changes,
)
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.naming import TableName

# If two processes build the same index CONCURRENTLY at the same moment, PostgreSQL ends one of them by deadlock, which
# may leave the index invalid. So the schema is read again after each attempt, after a random wait of at most this many
# seconds, which lets one of the processes finish first.
_MAX_WAITS_SECONDS = (0.0, 0.0, 1.0, 2.0, 4.0)


def is_prepared(column: BoundColumn) -> bool:
    """Return whether the table has the columns and the metadata table that `VectorRows` needs."""
    spec = column.spec
    existing = _metadata_tables(column)
    installed_version(column.database, column.table.name.schema, existing)
    return (
        ERRORS_TABLE in existing
        and {spec.output, spec.fingerprint_column or spec.output} <= column.table.columns.keys()
        and (spec.chunking is None or has_chunk_table(column))
    )


def missing_statements(column: BoundColumn) -> Iterator[Statement]:
    """Yield the statements that are still needed before rows can be embedded, in order, without the trigger's."""
    database, table, spec = column.database, column.table, column.spec
    if database.dialect.create_extension is not None and not database.read_vector_schema():
        yield create_extension(database.dialect)
    yield from _missing_columns(column)
    schema = table.name.schema
    existing = _metadata_tables(column)
    if ERRORS_TABLE not in existing:
        yield create_errors_table(schema)
    if VECTOR_COLUMNS_TABLE not in existing:
        yield create_vector_columns_table(schema)
    yield from upgrade_statements(schema, installed_version(database, schema, existing))
    if spec.chunking is not None:
        yield from chunk_table_changes(column)
    yield from _missing_pending_index(column)
    searched = (spec.updated_at, spec.fingerprint_column if spec.reuse_vectors else None)
    for name in filter(None, searched):
        yield from _missing_column_index(column, name)


def _missing_columns(column: BoundColumn) -> Iterator[Statement]:
    """Yield the statements that add the vector column and its fingerprint column.

    They precede those of the metadata tables, so that a table that rejects them leaves no other change.
    """
    table, fingerprint = column.table, column.spec.fingerprint_column
    if not column.exists:
        yield add_vector_column(column) if column.spec.chunking is None else add_marker_column(column)
    if fingerprint is not None and fingerprint not in table.columns:
        yield add_fingerprint_column(table, fingerprint)


def _missing_pending_index(column: BoundColumn) -> Iterator[Statement]:
    dialect, table = column.database.dialect, column.table
    key = [part.name for part in table.key]
    own = OwnIndex(*pending_index_stem(column.spec), key, unembedded_predicate(column, None))
    changes = index_changes(column.database, table, own)
    yield from changes.drops
    if changes.create_as is None:
        return
    if not table.is_partitioned:
        yield create_pending_index(dialect, column, changes.create_as)
        return
    for partition in partition_columns(column):
        yield from _missing_pending_index(partition)
    yield combine_pending_indexes(dialect, column, changes.create_as)


def _missing_column_index(column: BoundColumn, name: str) -> Iterator[Statement]:
    """Yield the statements that create an index on a column, unless the table has one that starts with it."""
    dialect, table = column.database.dialect, column.table
    if column.database.fetch(find_leading_index(), {"oid": table.oid, "column": name}):
        return
    own = OwnIndex(f"{table.name.name}_{name}", "crdbvec", [name], None)
    changes = index_changes(column.database, table, own)
    yield from changes.drops
    if changes.create_as is None:
        return
    if not table.is_partitioned:
        yield create_column_index(dialect, table, name, changes.create_as)
        return
    for partition in partition_columns(column):
        yield from _missing_column_index(partition, name)
    yield combine_column_indexes(dialect, table, name, changes.create_as)


def partition_columns(column: BoundColumn) -> list[BoundColumn]:
    """Return the vector column of each partition of a partitioned table.

    An index of a partitioned table cannot be built without blocking writers. One of each partition can, and then that
    of the partitioned table consists of them.
    """
    rows = column.database.fetch(list_partitions(column.database.dialect), {"oid": column.table.oid})
    return [
        replace(
            column,
            table=replace(column.table, name=TableName(schema, name), oid=oid, is_partitioned=False),
            spec=column.spec.model_copy(update={"table": TableName(schema, name)}),
        )
        for oid, schema, name in rows
    ]


def required_statements(column: BoundColumn) -> list[Statement]:
    """Return the statements that `prepare_column` would run, those of the trigger included, without running them."""
    spec = column.spec
    needed = list(missing_statements(column))
    is_new = any(ddl.name == create_vector_columns_table.__name__ for ddl in needed)
    metadata = [] if is_new else read_column_metadata(column.database, column.table)
    definition = ColumnMetadata(spec.output, spec.watched_columns, spec.fingerprint_column, spec.staleness, ())
    columns = [*(each for each in metadata if each.output != spec.output), definition]
    return needed + list(trigger_changes(column.database, column.table, sorted(columns, key=lambda each: each.output)))


def prepare_column(database: Database, spec: VectorColumn, model: ModelIdentity) -> BoundColumn:
    """Make the schema changes that a vector column needs, and return the column bound to the changed table.

    With `max_connections`, the column uses the connections that this process gets; it waits for at least one.

    Raises:
        TableError: The table cannot hold the column, or `manage_schema` is off and something is missing; the message
            then lists the statements to run.
        ExistingVectorsError: The column contains vectors of unknown origin, and `existing_vectors` is `refuse`.
        ColumnExchanged: `crdbvec migrate` has exchanged the column with that of another model.
        DatabaseError: The server rejected a statement.
    """
    check_present_model(database, spec)
    column = open_column(database, spec, model)
    if spec.staleness == "trigger":
        database.dialect.check_triggers()
    if spec.chunking is not None:
        check_chunk_columns(column)
    has_existing = has_existing_vectors(column, _metadata_tables(column))
    if has_existing:
        check_existing_vectors(column)
    for max_wait in _MAX_WAITS_SECONDS:
        time.sleep(random.uniform(0, max_wait))  # noqa: S311
        needed = list(missing_statements(column))
        if not needed:
            break
        check_requirements(column, added_columns=len(list(_missing_columns(column))))
        # A chunk table may be missing because it is being renamed.
        check_present_model(database, spec)
        if spec.chunking is not None and spec.manage_schema:
            forget_lost_chunks(column)
        _run(column, needed, functools.partial(has_created_chunk_table, column))
        column = column.reread()
    if has_existing:
        # Before the metadata are saved, so that an interrupted adoption is continued.
        decide_existing_vectors(column)
    follow_renamed_tables(database, column.table)
    save_column_metadata(column)
    _prepare_trigger(column)
    if spec.chunking is not None:
        bind_chunks(column)
    return replace(column, database=limit_connections(database, spec.table, spec.max_connections))


def _metadata_tables(column: BoundColumn) -> set[str]:
    rows = column.database.fetch(find_metadata_tables(), {"schema": column.table.name.schema})
    return {name for (name,) in rows}


def _prepare_trigger(column: BoundColumn) -> None:
    """Create or replace the table's trigger; several processes may do so at once, each for another column."""
    for max_wait in _MAX_WAITS_SECONDS:
        time.sleep(random.uniform(0, max_wait))  # noqa: S311
        metadata = read_column_metadata(column.database, column.table)
        needed = list(trigger_changes(column.database, column.table, metadata))
        if not column.spec.manage_schema and all(ddl.name == drop_trigger_function.__name__ for ddl in needed):
            # A function that no trigger uses is no reason to stop the work.
            return
        try:
            _run(column, needed, functools.partial(_has_function, column, metadata))
        except DatabaseError as error:
            if max_wait == _MAX_WAITS_SECONDS[-1] or not is_concurrent_change(error):
                raise
        else:
            if not needed:
                return


def _has_function(
    column: BoundColumn, metadata: Sequence[ColumnMetadata], ddl: Statement, error: DatabaseError
) -> bool:
    """Return whether the function that could not be created is already there, and a trigger uses it.

    CockroachDB before 26.2 does not replace the function of an active trigger, which another process or a table that
    had this name before may have created. Its name contains a digest of its definition, so it is the same.
    """
    is_function = ddl.name == create_trigger_function.__name__
    return is_function and is_not_supported(error) and has_trigger_function(column.database, column.table, metadata)


def _run(
    column: BoundColumn,
    needed: Sequence[Statement],
    is_done: Callable[[Statement, DatabaseError], bool] = lambda *_: False,
) -> None:
    spec = column.spec
    if needed and not spec.manage_schema:
        statements = "\n".join(f"  {ddl.text};" for ddl in needed)
        raise TableError(
            f"{spec.origin}: {spec.table} lacks what the vector column {spec.output} needs, and manage_schema is off. "
            f"Run these statements, or set manage_schema: true.\n{statements}"
        )
    for ddl in needed:
        try:
            change_schema(column.database, ddl)
        except DatabaseError as error:
            if not is_done(ddl, error):
                raise
