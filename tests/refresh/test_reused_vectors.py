"""Inputs whose vector is already in the column are not encoded again, if the entry says so."""

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import statements
from crdbvec_pipelines.refresh import stored_vectors
from crdbvec_pipelines.refresh.cache import VectorCache
from crdbvec_pipelines.refresh.stored_vectors import StoredVectors
from tests.support.models import CallLog, stub_vector
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, vectors
from tests.support.work import embed, prepare

REUSE = column(model="stub_counting", reuse_vectors=True)


def embed_again(database: Database, spec: VectorColumn, calls: CallLog, model_id: str | None = None) -> list[str]:
    """Embed in another run, whose cache is empty, and return the encoded inputs."""
    calls.clear()
    embed(database, spec, model_id=model_id, cache=VectorCache())
    return sorted(calls.inputs())


def test_new_rows_with_known_inputs_are_not_encoded(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, ["one", "two", "two"])
    assert embed_again(database, REUSE, calls) == ["one", "two"]
    insert_rows(connection, INT_SHAPE, {10: "two", 11: "three", 12: "one", 13: "three"})
    assert embed_again(database, REUSE, calls) == ["three"]
    for text, vector in zip(["one", "two", "two", "two", "three", "one", "three"], in_order(connection), strict=True):
        np.testing.assert_array_equal(vector, stub_vector(text))


def in_order(connection: psycopg.Connection) -> list[np.ndarray]:
    found = vectors(connection, INT_SHAPE)
    return [np.asarray(found[key]) for key in sorted(found)]


def test_edited_row_is_given_the_vector_of_its_new_input(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, ["one", "two"])
    embed_again(database, REUSE, calls)
    connection.execute("UPDATE passage SET passage = 'two'")
    assert embed_again(database, REUSE, calls) == []
    assert all((vector == stub_vector("two")).all() for vector in in_order(connection))


def test_vectors_of_another_model_are_not_reused(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, ["one", "two"])
    embed_again(database, REUSE, calls)
    assert embed_again(database, REUSE, calls, model_id="another") == ["one", "two"]


def test_nothing_is_looked_up_by_default(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    spec = column(model="stub_counting")
    create_table(connection, INT_SHAPE, ["one"])
    embed_again(database, spec, calls)
    insert_rows(connection, INT_SHAPE, {10: "one"})
    assert embed_again(database, spec, calls) == ["one"]


def test_the_index_on_the_fingerprint_finds_stored_vectors(postgres: Server) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
        connection.execute("INSERT INTO passage SELECT n, 'text ' || n FROM generate_series(1, 20000) AS n")
        rows = prepare(database, REUSE)
        connection.execute(
            "UPDATE passage SET passage_vector = '[1,2,3,4,5,6,7,8]', passage_vector_fingerprint = md5(id::text)"
        )
        connection.execute("VACUUM ANALYZE passage")
        query = b"EXPLAIN " + statements.read_stored_vectors(rows.column).query
        plan = "\n".join(line for (line,) in connection.execute(query, {"fingerprints": ["a", "b"]}).fetchall())
    assert "passage_passage_vector_fingerprint_crdbvec" in plan
    assert "Seq Scan on passage" not in plan


def test_a_model_that_is_faster_than_the_look_up_is_used_alone(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_vectors, "_MIN_INPUTS", 2)
    create_table(connection, INT_SHAPE, ["one", "two"])
    spec = column(model="stub_hash", reuse_vectors=True)
    embed(database, spec)
    rows = prepare(database, spec)
    found = connection.execute("SELECT passage_vector_fingerprint FROM passage").fetchall()
    known = [fingerprint for (fingerprint,) in found]
    for seconds, expected in ((0.0, 0), (3_600.0, 2)):
        stored = StoredVectors(rows)
        assert len(stored.find(known)) == 2
        stored.encoded(2, seconds)
        assert len(stored.find(known)) == expected
