"""Keys of types that are no scalar: failed rows are recorded, deferred, and resolved."""

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.row_errors import RowFailure
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.tables import column
from tests.support.work import prepare


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("pair", ["(1,a)", '(2,"b c")']),
        ("BYTEA", ["\\xff00", "\\x"]),
        ("FLOAT8", ["NaN", "Infinity"]),
        ("INT4RANGE", ["[1,5)", "empty"]),
        ("INTERVAL", ["1 day", "02:03:04"]),
    ],
)
def test_failed_row_is_deferred_until_its_input_changes(
    database: Database, connection: psycopg.Connection, kind: str, keys: list[str]
) -> None:
    connection.execute("CREATE TYPE pair AS (n INT8, t TEXT)")
    connection.execute(f"CREATE TABLE passage (id {kind} PRIMARY KEY, passage TEXT)".encode())
    for key in keys:
        connection.execute(f"INSERT INTO passage VALUES (%s::{kind}, 'text')".encode(), (key,))
    rows = prepare(database, column())
    everything = rows.all_passes[0]
    first, second = rows.read(KeyRange(), everything, None, 10)
    rows.errors.record([RowFailure(first.key, first.fingerprint, "rejected", "why")])
    assert str([row.key for row in rows.read(KeyRange(), everything, None, 10)]) == str([second.key])
    assert str([row.key for row in rows.read(KeyRange(), everything, first.key, 10)]) == str([second.key])
    assert rows.errors.delete_resolved() == 0
    assert rows.errors.retry(first.key) == 1
    connection.execute("UPDATE passage SET passage = 'edited'")
    assert rows.errors.delete_resolved() == 1
