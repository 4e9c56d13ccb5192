"""The age of the backlog of a vector column."""

import psycopg

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.health import oldest_pending_seconds
from tests.support.tables import INT_SHAPE, column, create_table
from tests.support.work import embed, prepared


def test_backlog_age_is_none_without_updated_at(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    assert oldest_pending_seconds(prepared(database, column(model="stub_hash"))) is None


def test_backlog_age_is_that_of_the_oldest_pending_row(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c", ""])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ")
    spec = column(model="stub_hash", updated_at="updated")
    bound = prepared(database, spec)
    for number, days in enumerate((1, 3, 2, 9)):
        connection.execute(
            "UPDATE passage SET updated = now() - %s * INTERVAL '1 day' WHERE id = %s", (days, INT_SHAPE.key(number)[0])
        )
    age = oldest_pending_seconds(bound)
    assert age is not None
    assert 3 * 86_400 <= age < 9 * 86_400
    embed(database, spec)
    assert oldest_pending_seconds(bound) == 0
