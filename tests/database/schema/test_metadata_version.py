"""The version of the metadata tables: upgraded when a table is prepared, and an error if it is newer."""

import psycopg
import pytest

from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.schema.metadata_version import CURRENT_VERSION
from crdbvec_pipelines.database.schema.prepare import is_prepared, missing_statements
from tests.support.tables import column, create_table
from tests.support.work import FakeModel, prepared


def make_version_1(connection: psycopg.Connection) -> None:
    """Remove what versions after that of release 0.1.0 added."""
    connection.execute(
        "DROP TABLE crdbvec_metadata_version, crdbvec_claims, crdbvec_limits, crdbvec_connections, crdbvec_lags, "
        "crdbvec_migrations, crdbvec_usage"
    )
    connection.execute(
        "ALTER TABLE crdbvec_vector_columns DROP COLUMN table_oid, DROP COLUMN suspended_at, DROP COLUMN metrics"
    )


def test_preparing_records_the_current_version(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    prepared(database, column())
    assert connection.execute("SELECT max(version) FROM crdbvec_metadata_version").fetchone() == (CURRENT_VERSION,)


def test_a_table_of_release_0_1_0_is_read_and_upgraded(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    prepared(database, column())
    make_version_1(connection)
    bound = bind_column(database, column(), FakeModel())
    assert is_prepared(bound)
    assert [statement.name for statement in missing_statements(bound)] == [
        "create_version_table",
        "create_claims_table",
        "add_table_oid",
        "create_limits_table",
        "create_connections_table",
        "create_lags_table",
        "add_suspended_at",
        "create_migrations_table",
        "add_metrics",
        "create_usage_table",
        "add_migration_chunks",
        "write_version",
    ]
    prepared(database, column())
    assert list(missing_statements(bound)) == []


def test_a_newer_version_is_rejected(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    prepared(database, column())
    connection.execute("INSERT INTO crdbvec_metadata_version VALUES (999, now())")
    bound = bind_column(database, column(), FakeModel())
    for use in (lambda: is_prepared(bound), lambda: prepared(database, column())):
        with pytest.raises(TableError, match=r"have version 999, which is newer .* Upgrade crdbvec-pipelines"):
            use()


def test_without_schema_management_the_statements_are_listed(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    prepared(database, column())
    make_version_1(connection)
    with pytest.raises(TableError, match=r"CREATE TABLE IF NOT EXISTS .*crdbvec_claims"):
        prepared(database, column(manage_schema=False))
