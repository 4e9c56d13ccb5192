"""The version of the metadata tables: which statements each version added, and the error for a newer one.

Version 1 is that of release 0.1.0, which stored no version. `prepare_column` upgrades a schema; opening a column
accepts every version up to the current one.
"""

from collections.abc import Callable, Sequence

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.limits.statements import create_connections_table, create_limits_table
from crdbvec_pipelines.database.rows.claim_statements import create_claims_table
from crdbvec_pipelines.database.rows.lag import create_lags_table
from crdbvec_pipelines.database.rows.usage import create_usage_table
from crdbvec_pipelines.database.schema.column_metadata import add_metrics, add_suspended_at, add_table_oid
from crdbvec_pipelines.database.schema.migration_statements import add_migration_chunks, create_migrations_table
from crdbvec_pipelines.database.statement import Statement, statement

VERSION_TABLE = "crdbvec_metadata_version"

# What each version adds to the one before it; version 1 is the tables of release 0.1.0.
_ADDED: Sequence[tuple[int, Sequence[Callable[[str], Statement]]]] = (
    (2, (create_claims_table,)),
    (3, (add_table_oid,)),
    (4, (create_limits_table, create_connections_table, create_lags_table, add_suspended_at)),
    (5, (create_migrations_table,)),
    (6, (add_metrics,)),
    (7, (create_usage_table,)),
    (8, (add_migration_chunks,)),
)
CURRENT_VERSION = _ADDED[-1][0]


@statement
def create_version_table(schema: str) -> sql.Composable:
    """Create the table with the version of the metadata tables of a schema."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (version INT8 NOT NULL PRIMARY KEY, installed_at TIMESTAMPTZ NOT NULL)"
    ).format(sql.Identifier(schema, VERSION_TABLE))


@statement
def write_version(schema: str, version: int) -> sql.Composable:
    """Record that a version is installed."""
    return sql.SQL("INSERT INTO {} (version, installed_at) VALUES ({}, now()) ON CONFLICT (version) DO NOTHING").format(
        sql.Identifier(schema, VERSION_TABLE), sql.Literal(version)
    )


@statement
def read_version(schema: str) -> sql.Composable:
    """Read the installed version."""
    return sql.SQL("SELECT max(crdbvec_installed.version) FROM {} AS crdbvec_installed").format(
        sql.Identifier(schema, VERSION_TABLE)
    )


@statement
def read_installation_time(schema: str) -> sql.Composable:
    """Read when the metadata tables were made, and the name of the database."""
    return sql.SQL(
        "SELECT current_database(), min(crdbvec_installed.installed_at)::text FROM {} AS crdbvec_installed"
    ).format(sql.Identifier(schema, VERSION_TABLE))


@statement
def read_server_identity(dialect: Dialect) -> sql.Composable:
    """Read the identity of the server, if the server has one."""
    return dialect.server_identity or sql.SQL("")


def database_identity(database: Database, schema: str) -> str:
    """Return a text that differs between databases, also if one is a copy of the other on another server.

    On a server without an identity of its own, copies with the same name have the same text.
    """
    name, installed_at = database.fetch_one(read_installation_time(schema))
    server = (
        ""
        if database.dialect.server_identity is None
        else database.fetch_one(read_server_identity(database.dialect))[0]
    )
    return f"{name} {installed_at} {server}".strip()


def installed_version(database: Database, schema: str, metadata_tables: set[str]) -> int:
    """Return the version of the metadata tables of a schema.

    Args:
        database: An open database.
        schema: The schema.
        metadata_tables: The metadata tables that exist in it.

    Returns:
        The version; 1 if no version is recorded.

    Raises:
        TableError: The tables were prepared by a newer release.
    """
    if VERSION_TABLE not in metadata_tables:
        return 1
    version = int(database.fetch_one(read_version(schema))[0] or 1)
    if version > CURRENT_VERSION:
        raise TableError(
            f"The metadata tables in the schema {schema} have version {version}, which is newer than this release "
            f"supports ({CURRENT_VERSION}). Upgrade crdbvec-pipelines."
        )
    return version


def upgrade_statements(schema: str, version: int) -> list[Statement]:
    """Return the statements that upgrade the metadata tables of a schema from a version to the current one."""
    if version >= CURRENT_VERSION:
        return []
    added = [build(schema) for number, builders in _ADDED if number > version for build in builders]
    return [create_version_table(schema), *added, write_version(schema, CURRENT_VERSION)]
