"""What the checks ask of the server: the shape of vectors, drift in a key range, the age of the backlog."""

from collections.abc import Sequence

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.health import Measured, VectorHealth
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import STUB_DIM
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, set_text
from tests.support.work import embed, prepare

HASHED = column(model="stub_hash")


def health(database: Database, spec: VectorColumn = HASHED, dimension: int = STUB_DIM) -> VectorHealth:
    rows = prepare(database, spec)
    return VectorHealth(database, rows.table, spec, rows.model_id, dimension)


def put_vectors(connection: psycopg.Connection, vectors: Sequence[str | None]) -> None:
    for number, vector in enumerate(vectors):
        connection.execute("UPDATE passage SET passage_vector = %s WHERE id = %s", (vector, INT_SHAPE.key(number)[0]))


def test_where_there_are_no_vectors_there_are_no_norms(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    assert health(database).measure() == Measured(0, 0, 0, 0, None, None)


def test_norms_and_zero_vectors_are_found(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c", "d"])
    asked = health(database)
    put_vectors(connection, ["[3,4,0,0,0,0,0,0]", "[0,0,0,0,0,0,0,0]", None, "[0,0,1,0,0,0,0,0]"])
    assert asked.measure() == Measured(3, 0, 0, 1, 0.0, 5.0)


def test_another_dimension_than_the_models_is_found(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, HASHED)
    assert health(database, dimension=STUB_DIM + 1).measure().wrong_dimension == 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_drift_is_counted_within_a_key_range(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(30)])
    embed(database, HASHED)
    rows = prepare(database, HASHED)
    _, ranges = rows.split(KeyRange(), 1)
    assert ranges == []
    first, second, third = prepare(database, HASHED, model_id="another").split(KeyRange(), 3)[1]
    for number in (0, 11, 29):
        set_text(connection, shape, number, "edited")
    set_text(connection, shape, 12, None)
    asked = health(database)
    parts = [asked.count_drift(part) for part in (first, second, third)]
    assert [vectors for _, vectors in parts] == [10, 10, 10]
    assert sum(drifted for drifted, _ in parts) == 4
    assert asked.count_drift(KeyRange()) == (4, 30)


def test_a_vector_without_a_fingerprint_has_drifted(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    asked = health(database)
    put_vectors(connection, ["[1,2,3,4,5,6,7,8]", None])
    assert asked.count_drift(KeyRange()) == (1, 1)


def test_the_backlog_has_no_age_where_nobody_says_when_rows_were_updated(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    assert health(database).oldest_pending_seconds() is None


def test_the_age_of_the_backlog_is_that_of_its_oldest_row(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c", ""])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ")
    spec = column(model="stub_hash", updated_at="updated")
    asked = health(database, spec)
    for number, days in enumerate((1, 3, 2, 9)):
        connection.execute(
            "UPDATE passage SET updated = now() - %s * INTERVAL '1 day' WHERE id = %s", (days, INT_SHAPE.key(number)[0])
        )
    age = asked.oldest_pending_seconds()
    assert age is not None
    assert 3 * 86_400 <= age < 9 * 86_400
    embed(database, spec)
    assert asked.oldest_pending_seconds() == 0
