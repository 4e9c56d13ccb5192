"""The queries of a diagnosis. All of them read the catalog only, but for one row of the table."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.statement import statement


@statement
def read_clock() -> sql.Composable:
    """Read the time of the server."""
    return sql.SQL("SELECT clock_timestamp()")


@statement
def read_role_settings(dialect: Dialect) -> sql.Composable:
    """Read the role, and what its settings and the server permit: read-only transactions, time-outs."""
    return dialect.role_settings


@statement
def read_extension_privilege(dialect: Dialect) -> sql.Composable:
    """Read whether the role may create the extension of the VECTOR type; no row if the server does not have it."""
    return dialect.extension_privilege or sql.SQL("")


@statement
def read_privileges() -> sql.Composable:
    """Read the privileges of the role on a table and its schema."""
    return sql.SQL(
        "SELECT has_schema_privilege(crdbvec_class.relnamespace, 'USAGE'), "
        "has_table_privilege(crdbvec_class.oid, 'SELECT'), has_table_privilege(crdbvec_class.oid, 'INSERT'), "
        "has_table_privilege(crdbvec_class.oid, 'UPDATE'), has_table_privilege(crdbvec_class.oid, 'DELETE') "
        "FROM pg_catalog.pg_class AS crdbvec_class JOIN pg_catalog.pg_namespace AS crdbvec_namespace "
        "ON crdbvec_namespace.oid = crdbvec_class.relnamespace "
        "WHERE crdbvec_namespace.nspname = %(schema)s::text AND crdbvec_class.relname = %(table)s::text"
    )


@statement
def list_column_privileges() -> sql.Composable:
    """List the columns of a table that the role may read, and whether it may update them."""
    return sql.SQL(
        "SELECT crdbvec_attribute.attname, has_column_privilege(%(oid)s::oid, crdbvec_attribute.attnum, 'SELECT'), "
        "has_column_privilege(%(oid)s::oid, crdbvec_attribute.attnum, 'UPDATE') "
        "FROM pg_catalog.pg_attribute AS crdbvec_attribute WHERE crdbvec_attribute.attrelid = %(oid)s::oid "
        "AND crdbvec_attribute.attnum > 0 AND NOT crdbvec_attribute.attisdropped ORDER BY crdbvec_attribute.attnum"
    )


@statement
def list_update_triggers() -> sql.Composable:
    """List the triggers of users that run before each row of an UPDATE, and may discard or change it."""
    return sql.SQL(
        "SELECT crdbvec_trigger.tgname FROM pg_catalog.pg_trigger AS crdbvec_trigger "
        "WHERE crdbvec_trigger.tgrelid = %(oid)s AND NOT crdbvec_trigger.tgisinternal "
        "AND crdbvec_trigger.tgenabled <> 'D' AND crdbvec_trigger.tgname <> %(own)s::text "
        # Bits: for each row, before, UPDATE.
        "AND crdbvec_trigger.tgtype::int & 19 = 19 ORDER BY crdbvec_trigger.tgname"
    )


@statement
def list_update_rules() -> sql.Composable:
    """List the rules of a table that replace an UPDATE."""
    return sql.SQL(
        "SELECT crdbvec_rule.rulename FROM pg_catalog.pg_rewrite AS crdbvec_rule "
        "WHERE crdbvec_rule.ev_class = %(oid)s AND crdbvec_rule.ev_type = '2' AND crdbvec_rule.ev_enabled <> 'D' "
        "ORDER BY crdbvec_rule.rulename"
    )


@statement
def has_row_security(dialect: Dialect) -> sql.Composable:
    """Return whether row-level security applies to the role for a table."""
    return dialect.row_security_applies


@statement
def has_vector(column: ColumnDefinition) -> sql.Composable:
    """Return one row if a row has a vector."""
    return sql.SQL("SELECT 1 FROM {} WHERE {} IS NOT NULL LIMIT 1").format(
        aliased(column.table), reference(column.spec.output)
    )
