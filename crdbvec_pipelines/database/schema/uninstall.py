"""Removing what this project added to a table, and nothing else.

The metadata table says which vector columns are managed and which fingerprint columns they have. Indexes are recognized
as they are when a table is prepared: by name and definition. It is not recorded whether the vector column itself was
there before, so it is kept unless the caller decides otherwise. The extension `vector` is always kept.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from crdbvec_pipelines.database.chunks.statements import drop_chunk_table
from crdbvec_pipelines.database.chunks.table import chunk_table_name, has_chunk_table
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.statements import vector_index_names
from crdbvec_pipelines.database.index.text_document import is_configured_text_index, is_text_index_name
from crdbvec_pipelines.database.limits.statements import CONNECTIONS_TABLE, LIMITS_TABLE, delete_table_limits
from crdbvec_pipelines.database.rows.claim_statements import CLAIMS_TABLE
from crdbvec_pipelines.database.rows.lag import LAGS_TABLE, delete_lags
from crdbvec_pipelines.database.rows.predicates import unembedded_predicate
from crdbvec_pipelines.database.rows.row_error_statements import ERRORS_TABLE
from crdbvec_pipelines.database.rows.usage import USAGE_TABLE, delete_usage
from crdbvec_pipelines.database.schema.column_metadata import (
    VECTOR_COLUMNS_TABLE,
    read_column_metadata,
    select_column_metadata,
)
from crdbvec_pipelines.database.schema.ddl import change_schema
from crdbvec_pipelines.database.schema.metadata_version import VERSION_TABLE, installed_version
from crdbvec_pipelines.database.schema.migration_statements import MIGRATIONS_TABLE, delete_migration
from crdbvec_pipelines.database.schema.own_indexes import OwnIndex
from crdbvec_pipelines.database.schema.statements import (
    drop_index,
    find_metadata_tables,
    pending_index_stem,
    table_indexes,
)
from crdbvec_pipelines.database.schema.table_identity import delete_column_metadata, delete_row_errors
from crdbvec_pipelines.database.schema.triggers import trigger_changes
from crdbvec_pipelines.database.statement import Statement, statement
from crdbvec_pipelines.database.table import Table, read_table_oid
from crdbvec_pipelines.naming import TableName

# By the name of the statement. A trigger that other columns need is replaced.
_TRIGGER_CHANGES = {
    "create_trigger_function": "the function of the trigger, replaced by one for the other columns",
    "replace_trigger": "the trigger, replaced by one for the other columns",
    "create_trigger": "the trigger, replaced by one for the other columns",
    "drop_trigger": "the trigger",
    "drop_trigger_function": "the function of the trigger",
}


@dataclass(frozen=True)
class Removal:
    """One statement that removes something.

    Attributes:
        what: What it removes, as a noun phrase.
        statement: The statement.
        parameters: The values of its placeholders; None for DDL.
    """

    what: str
    statement: Statement
    parameters: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Uninstallation:
    """What is removed for one vector column, in order, and what is kept.

    Attributes:
        removals: What is removed.
        kept: What is kept although this project may have added it, each as a sentence.
    """

    removals: Sequence[Removal] = ()
    kept: Sequence[str] = field(default_factory=tuple)


@statement
def drop_column(table: Table, column_name: str) -> sql.Composable:
    """Drop a column that this project added. A view that depends on it prevents it."""
    return sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}").format(table.identifier, sql.Identifier(column_name))


@statement
def list_other_columns(schema: str) -> sql.Composable:
    """List all recorded vector columns of a schema: table and output."""
    return sql.SQL("SELECT crdbvec_column.table_name, crdbvec_column.output FROM {} AS crdbvec_column").format(
        sql.Identifier(schema, VECTOR_COLUMNS_TABLE)
    )


@statement
def delete_column_claims(schema: str) -> sql.Composable:
    """Delete the claims of a vector column."""
    return sql.SQL(
        "DELETE FROM {} AS crdbvec_claim "
        "WHERE crdbvec_claim.table_name = %(table_name)s::text AND crdbvec_claim.output = %(output)s::text"
    ).format(sql.Identifier(schema, CLAIMS_TABLE))


@statement
def drop_metadata_tables(schema: str) -> sql.Composable:
    """Drop the metadata tables of a schema in which no vector column is left."""
    names = (
        ERRORS_TABLE,
        CLAIMS_TABLE,
        LIMITS_TABLE,
        CONNECTIONS_TABLE,
        LAGS_TABLE,
        USAGE_TABLE,
        MIGRATIONS_TABLE,
        VECTOR_COLUMNS_TABLE,
        VERSION_TABLE,
    )
    return sql.SQL("DROP TABLE IF EXISTS {}").format(sql.SQL(", ").join(sql.Identifier(schema, name) for name in names))


def plan_uninstallation(
    column: BoundColumn, *, with_vectors: bool, before: Collection[tuple[TableName, str]] = ()
) -> Uninstallation:
    """Return what uninstalling a vector column removes; nothing if the column is not recorded.

    Args:
        column: The vector column. No property of its model is read.
        with_vectors: Whether to drop the vector column, too.
        before: Table and output of the vector columns that are uninstalled before it.

    Raises:
        TableError: The table was prepared by a newer release.
    """
    database, table, spec = column.database, column.table, column.spec
    schema = table.name.schema
    metadata_tables = {name for (name,) in database.fetch(find_metadata_tables(), {"schema": schema})}
    installed_version(database, schema, metadata_tables)
    if VECTOR_COLUMNS_TABLE not in metadata_tables:
        return Uninstallation()
    recorded = {
        output: fingerprint
        for output, _, fingerprint, *_ in database.fetch(
            select_column_metadata(schema), {"table_name": table.name.name}
        )
    }
    if spec.output not in recorded:
        return Uninstallation()
    gone = {*before, (table.name, spec.output)}
    removals = [*_trigger(column, gone)]
    others = [output for output in recorded if (table.name, output) not in gone]
    own_indexes, kept = _indexes(column, others)
    removals += own_indexes
    fingerprint = recorded[spec.output]
    if fingerprint is not None and fingerprint in table.columns:
        removals.append(Removal(f"the fingerprint column {fingerprint}", drop_column(table, fingerprint)))
    if spec.chunking is not None:
        removals += _chunks(column)
    elif column.exists and with_vectors:
        removals.append(Removal(f"the vector column {spec.output} with its vectors", drop_column(table, spec.output)))
    elif column.exists:
        kept.append(
            f"The vector column {spec.output} and its vectors are kept. It may have been there before; --drop-column "
            "drops it."
        )
    return Uninstallation([*removals, *_metadata(column, gone)], kept)


def uninstall(database: Database, planned: Uninstallation) -> None:
    """Remove what was planned. Each statement can be repeated, so an interrupted removal is continued by another one.

    Raises:
        DatabaseError: The server rejected a statement, for example because a view depends on a column.
    """
    for removal in planned.removals:
        if removal.parameters is None:
            change_schema(database, removal.statement)
        else:
            database.execute(removal.statement, removal.parameters)


def _chunks(column: BoundColumn) -> Iterator[Removal]:
    """Yield the removals of a chunk table and of the numbers of chunks, which only this project adds."""
    spec = column.spec
    if has_chunk_table(column):
        name = chunk_table_name(spec)
        yield Removal(f"the chunk table {name} with its vectors", drop_chunk_table(column))
    if column.exists:
        yield Removal(f"the column {spec.output} with the numbers of chunks", drop_column(column.table, spec.output))


def _trigger(column: BoundColumn, gone: Collection[tuple[TableName, str]]) -> Iterator[Removal]:
    table = column.table
    remaining = [each for each in read_column_metadata(column.database, table) if (table.name, each.output) not in gone]
    for change in trigger_changes(column.database, table, remaining):
        yield Removal(_TRIGGER_CHANGES[change.name], change)


def _indexes(column: BoundColumn, others: Sequence[str]) -> tuple[list[Removal], list[str]]:
    """Return the removals of the indexes of this project, and what is kept."""
    database, table, spec = column.database, column.table, column.spec
    vector_names = vector_index_names(spec, table.oid)
    key = [part.name for part in table.key]
    pending = OwnIndex(*pending_index_stem(spec), key, unembedded_predicate(column, None))
    updated = None
    if spec.updated_at is not None:
        updated = OwnIndex(f"{table.name.name}_{spec.updated_at}", "crdbvec", [spec.updated_at], None)
    removals, kept = [], []
    for name, _, columns, predicate in database.fetch(table_indexes(database.dialect), {"oid": table.oid}):
        drop = drop_index(database.dialect, table, name)
        if name in vector_names and columns and columns[-1] == spec.output:
            removals.append(Removal(f"the vector index {name}", drop))
        elif spec.second_of is None and (is_text_index_name(column, name) or is_configured_text_index(column, name)):
            # The second column of a model migration has none of its own.
            removals.append(Removal(f"the text index {name}", drop))
        elif _is_own(pending, table, name, columns, predicate):
            removals.append(Removal(f"the pending index {name}", drop))
        elif updated is not None and _is_own(updated, table, name, columns, predicate):
            if others:
                kept.append(f"The index {name} is kept, because {', '.join(others)} may use it.")
            else:
                removals.append(Removal(f"the index {name}", drop))
    return removals, kept


def _is_own(own: OwnIndex, table: Table, name: str, columns: Sequence[str], predicate: str | None) -> bool:
    """Return whether an index is one of this project; its second name contains a digest of its definition."""
    first, second = own.names(table)
    return name == second or (name == first and own.has_definition(columns, predicate))


def _metadata(column: BoundColumn, gone: Collection[tuple[TableName, str]]) -> Iterator[Removal]:
    """Yield the removals of the rows about a vector column, or of the metadata tables if no other column is left."""
    database, schema = column.database, column.table.name.schema
    recorded = [(TableName(schema, name), output) for name, output in database.fetch(list_other_columns(schema))]
    if set(recorded) <= set(gone):
        yield Removal("the metadata tables, which no other vector column uses", drop_metadata_tables(schema))
        return
    parameters = {"table_name": column.table.name.name, "output": column.spec.output}
    is_last = column.table.name not in {table for table, _ in set(recorded) - set(gone)}
    for name, what, build in (
        (ERRORS_TABLE, "its failed rows", delete_row_errors),
        (CLAIMS_TABLE, "its claims", delete_column_claims),
        (LAGS_TABLE, "its measured lags", delete_lags),
        (USAGE_TABLE, "its tokens", delete_usage),
        *([(LIMITS_TABLE, "the limits of the table", delete_table_limits)] if is_last else []),
        (MIGRATIONS_TABLE, "its migration", delete_migration),
        # The last one, so that an interrupted removal is continued.
        (VECTOR_COLUMNS_TABLE, "its record", delete_column_metadata),
    ):
        if read_table_oid(database, TableName(schema, name)) is not None:
            removal = build(schema)
            used = {key: value for key, value in parameters.items() if f"%({key})s" in removal.text}
            yield Removal(f"{what} in {name}", removal, used)
