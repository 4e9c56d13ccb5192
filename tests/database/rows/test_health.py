"""Measurements for the asset checks: statistics of vectors, drift of a key range, age of the backlog."""

from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.health import VectorHealth, VectorStatistics
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import STUB_DIM
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, set_text
from tests.support.work import FakeModel, embed, prepare, prepared

HASHED = column(model="stub_hash")


def health(database: Database, spec: VectorColumn = HASHED) -> VectorHealth:
    return VectorHealth(prepared(database, spec))


def put_vectors(connection: psycopg.Connection, vectors: Sequence[str | None]) -> None:
    for number, vector in enumerate(vectors):
        connection.execute("UPDATE passage SET passage_vector = %s WHERE id = %s", (vector, INT_SHAPE.key(number)[0]))


def test_norms_are_none_without_vectors(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    assert health(database).measure() == VectorStatistics(0, 0, 0, 0, None, None)


def test_measure_returns_norms_and_zero_vectors(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c", "d"])
    measured = health(database)
    put_vectors(connection, ["[3,4,0,0,0,0,0,0]", "[0,0,0,0,0,0,0,0]", None, "[0,0,1,0,0,0,0,0]"])
    assert measured.measure() == VectorStatistics(3, 0, 0, 1, 0.0, 5.0)


def test_measure_counts_vectors_of_a_wrong_dimension(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    embed(database, HASHED)
    column_of_other_model = replace(prepared(database, HASHED), model=FakeModel(dim=STUB_DIM + 1))
    assert VectorHealth(column_of_other_model).measure().wrong_dimension == 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_count_drift_counts_within_a_key_range(
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
    measured = health(database)
    parts = [measured.count_drift(part) for part in (first, second, third)]
    assert [vectors for _, vectors in parts] == [10, 10, 10]
    assert sum(drifted for drifted, _ in parts) == 4
    assert measured.count_drift(KeyRange()) == (4, 30)


def test_vector_without_fingerprint_is_drift(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    measured = health(database)
    put_vectors(connection, ["[1,2,3,4,5,6,7,8]", None])
    assert measured.count_drift(KeyRange()) == (1, 1)


def test_backlog_age_is_none_without_updated_at(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    assert health(database).oldest_pending_seconds() is None


def test_backlog_age_is_that_of_the_oldest_pending_row(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c", ""])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ")
    spec = column(model="stub_hash", updated_at="updated")
    measured = health(database, spec)
    for number, days in enumerate((1, 3, 2, 9)):
        connection.execute(
            "UPDATE passage SET updated = now() - %s * INTERVAL '1 day' WHERE id = %s", (days, INT_SHAPE.key(number)[0])
        )
    age = measured.oldest_pending_seconds()
    assert age is not None
    assert 3 * 86_400 <= age < 9 * 86_400
    embed(database, spec)
    assert measured.oldest_pending_seconds() == 0
