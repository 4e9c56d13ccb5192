"""The trigger that clears a vector when its input changes: one per table, for all its columns with staleness: trigger.

The function's name contains a digest of its definition, so the catalog shows whether the trigger is up to date, and a
server with CREATE OR REPLACE TRIGGER replaces it in one statement.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.identifiers import short_name
from crdbvec_pipelines.database.schema.column_metadata import ColumnMetadata
from crdbvec_pipelines.database.statement import Statement, statement
from crdbvec_pipelines.database.table import Table

TRIGGER = "crdbvec_stale"
_DIGEST_CHARACTERS = 8
_DIGEST = re.compile(f"[0-9a-f]{{{_DIGEST_CHARACTERS}}}")

# PostgreSQL has no equality operator for these types, so a comparison would make every UPDATE of the table fail.
_WITHOUT_EQUALITY = frozenset({"json", "xml", "point", "polygon", "path"})
# Their operator takes values with different texts for equal: texts by letter case, shapes by area.
_WITH_LOOSE_EQUALITY = frozenset({"citext", "box", "circle"})
_COMPARED_AS_TEXT = _WITHOUT_EQUALITY | _WITH_LOOSE_EQUALITY


@statement
def find_trigger() -> sql.Composable:
    """Find the function of this project's trigger on a table, and count the triggers that use it.

    After a table was renamed, another table of its former name has a function with the same body and name.
    """
    return sql.SQL(
        "SELECT crdbvec_proc.proname, (SELECT count(*) FROM pg_catalog.pg_trigger AS crdbvec_other "
        "WHERE crdbvec_other.tgfoid = crdbvec_trigger.tgfoid) FROM pg_catalog.pg_trigger AS crdbvec_trigger "
        "JOIN pg_catalog.pg_proc AS crdbvec_proc ON crdbvec_proc.oid = crdbvec_trigger.tgfoid "
        "WHERE crdbvec_trigger.tgrelid = %(oid)s AND crdbvec_trigger.tgname = %(trigger)s::text"
    )


@statement
def find_trigger_function() -> sql.Composable:
    """Find a function of this role by its name, which contains a digest of its definition."""
    return sql.SQL(
        "SELECT 1 FROM pg_catalog.pg_proc AS crdbvec_proc JOIN pg_catalog.pg_namespace AS crdbvec_namespace "
        "ON crdbvec_namespace.oid = crdbvec_proc.pronamespace WHERE crdbvec_namespace.nspname = %(schema)s::text "
        "AND crdbvec_proc.proname = %(function)s::text AND pg_has_role(crdbvec_proc.proowner, 'USAGE')"
    )


@statement
def list_unused_trigger_functions() -> sql.Composable:
    """List the functions of this role whose names start with a text and which no trigger uses."""
    return sql.SQL(
        "SELECT crdbvec_proc.proname FROM pg_catalog.pg_proc AS crdbvec_proc JOIN pg_catalog.pg_namespace AS "
        "crdbvec_namespace ON crdbvec_namespace.oid = crdbvec_proc.pronamespace WHERE crdbvec_namespace.nspname = "
        "%(schema)s::text AND substr(crdbvec_proc.proname::text, 1, length(%(start)s::text)) = %(start)s::text "
        "AND pg_has_role(crdbvec_proc.proowner, 'USAGE') AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger AS "
        "crdbvec_trigger WHERE crdbvec_trigger.tgfoid = crdbvec_proc.oid) ORDER BY crdbvec_proc.proname"
    )


@statement
def create_trigger_function(table: Table, columns: Sequence[ColumnMetadata]) -> sql.Composable:
    """Create the trigger's function. `(NEW).column` is the syntax of CockroachDB; PostgreSQL allows it."""
    return sql.SQL(
        "CREATE OR REPLACE FUNCTION {}() RETURNS TRIGGER LANGUAGE plpgsql{} AS $crdbvec$\n{}$crdbvec$"
    ).format(_function(table, columns), table.dialect.function_settings, _body(table, columns))


@statement
def replace_trigger(table: Table, columns: Sequence[ColumnMetadata]) -> sql.Composable:
    """Create the trigger, or replace an older one atomically."""
    return sql.SQL("CREATE OR REPLACE TRIGGER {}").format(_trigger(table, columns))


@statement
def create_trigger(table: Table, columns: Sequence[ColumnMetadata]) -> sql.Composable:
    """Create the trigger on a server that cannot replace one."""
    return sql.SQL("CREATE TRIGGER {}").format(_trigger(table, columns))


@statement
def drop_trigger(table: Table) -> sql.Composable:
    """Drop the trigger."""
    return sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(TRIGGER), table.identifier)


@statement
def drop_trigger_function(table: Table, function: str) -> sql.Composable:
    """Drop the function of a trigger that was dropped or replaced."""
    return sql.SQL("DROP FUNCTION IF EXISTS {}").format(sql.Identifier(table.name.schema, function))


def trigger_changes(database: Database, table: Table, metadata: Sequence[ColumnMetadata]) -> Iterator[Statement]:
    """Yield the statements that create, replace or drop a table's trigger, in order; none if it is up to date."""
    columns = [column for column in metadata if column.staleness == "trigger"]
    found = database.fetch(find_trigger(), {"oid": table.oid, "trigger": TRIGGER})
    installed, uses = found[0] if found else (None, 0)
    required = function_name(table, columns) if columns else None
    unused = _unused_functions(database, table) - {required}
    if installed != required:
        if columns:
            yield from _install(database.dialect, table, columns, is_installed=installed is not None)
        else:
            yield drop_trigger(table)
        if installed is not None and uses == 1:
            unused.add(installed)
    for function in sorted(unused):
        yield drop_trigger_function(table, function)


def has_trigger_function(database: Database, table: Table, metadata: Sequence[ColumnMetadata]) -> bool:
    """Return whether the function that a table's trigger needs exists and belongs to this role."""
    columns = [column for column in metadata if column.staleness == "trigger"]
    parameters = {"schema": table.name.schema, "function": function_name(table, columns)}
    return bool(columns) and bool(database.fetch(find_trigger_function(), parameters))


def function_name(table: Table, columns: Sequence[ColumnMetadata]) -> str:
    """Return the name of the trigger's function for these columns."""
    definition = _body(table, columns).as_string() + table.dialect.function_settings.as_string()
    return _function_name(table, hashlib.sha256(definition.encode()).hexdigest()[:_DIGEST_CHARACTERS])


def _function_name(table: Table, digest: str) -> str:
    return short_name(f"{TRIGGER}_{table.name.name}", digest)


def _unused_functions(database: Database, table: Table) -> set[str]:
    """Return the functions of a table that no trigger uses.

    They are left by two processes that created the trigger at the same time, each for another column, or by one that
    was ended between the function and its trigger.
    """
    start = _function_name(table, "0" * _DIGEST_CHARACTERS).removesuffix("0" * _DIGEST_CHARACTERS)
    rows = database.fetch(list_unused_trigger_functions(), {"schema": table.name.schema, "start": start})
    # A table whose name continues that of this one has functions that start in the same way.
    return {name for (name,) in rows if _DIGEST.fullmatch(name.removeprefix(start))}


def _install(
    dialect: Dialect, table: Table, columns: Sequence[ColumnMetadata], *, is_installed: bool
) -> Iterator[Statement]:
    yield create_trigger_function(table, columns)
    if dialect.can_replace_triggers:
        yield replace_trigger(table, columns)
        return
    if is_installed:
        yield drop_trigger(table)
    yield create_trigger(table, columns)


def _function(table: Table, columns: Sequence[ColumnMetadata]) -> sql.Identifier:
    return sql.Identifier(table.name.schema, function_name(table, columns))


def _trigger(table: Table, columns: Sequence[ColumnMetadata]) -> sql.Composable:
    return sql.SQL("{} BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
        sql.Identifier(TRIGGER), table.identifier, _function(table, columns)
    )


def _changed(table: Table, name: str) -> sql.Composable:
    column = table.columns[name]
    # The catalog's name of an array is that of its elements after an underscore. The operators of a type of another
    # schema, such as hstore, are not on the search path of the function.
    by_text = column.type_name.removeprefix("_") in _COMPARED_AS_TEXT or column.operator_schema != "pg_catalog"
    field = sql.SQL("{}::text" if by_text else "{}").format(sql.Identifier(name))
    return sql.SQL("(NEW).{0} IS DISTINCT FROM (OLD).{0}").format(field)


def _body(table: Table, columns: Sequence[ColumnMetadata]) -> sql.Composable:
    blocks = [
        sql.SQL("  IF {changed} THEN\n{cleared}  END IF;\n").format(
            changed=sql.SQL(" OR ").join(_changed(table, name) for name in column.inputs),
            cleared=sql.SQL("").join(
                sql.SQL("    NEW.{} := NULL;\n").format(sql.Identifier(name))
                for name in (column.output, column.fingerprint)
                if name is not None
            ),
        )
        for column in columns
    ]
    return sql.SQL(
        "-- Made by crdbvec from the table crdbvec_vector_columns: a vector is cleared at once when what it was made\n"
        "-- from changes, and crdbvec embeds the row again. Before dropping one of the columns named below:\n"
        "-- DROP TRIGGER crdbvec_stale on this table.\n"
        "BEGIN\n{}  RETURN NEW;\nEND\n"
    ).format(sql.SQL("").join(blocks))
