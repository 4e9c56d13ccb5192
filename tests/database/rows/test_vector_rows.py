"""Reading pages of pending rows, guarded writes, counts and slices of key ranges, for every shape of key."""

import hashlib

import numpy as np
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.pending_page import PendingRow
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.row_counts import RowCounts
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import STUB_DIM
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, set_text, vectors
from tests.support.work import prepare

UNEMBEDDED = Pass("unembedded")
STALE = Pass("stale")
EVERYTHING = KeyRange()


def read_all(rows: VectorRows, key_range: KeyRange = EVERYTHING, page: int = 1_000) -> list[PendingRow]:
    """Return the unembedded rows of a range, read page by page."""
    found: list[PendingRow] = []
    while read := rows.read(key_range, UNEMBEDDED, found[-1].key if found else None, page):
        found += read
    return found


def write(rows: VectorRows, pending: list[PendingRow]) -> int:
    """Write a vector for each row, whose components are all the row's position in the list, from 1."""
    positions = np.arange(1, len(pending) + 1, dtype=np.float32)
    return rows.write(pending, np.repeat(positions[:, None], STUB_DIM, axis=1)).rows


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pages_contain_every_pending_row_once_in_key_order(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(40)])
    rows = prepare(database, column())
    found = read_all(rows, page=7)
    keys = sql.SQL(", ").join(map(sql.Identifier, shape.columns))
    ordered = connection.execute(sql.SQL("SELECT {0}, passage FROM passage ORDER BY {0}").format(keys)).fetchall()
    assert [(*row.key, row.input) for row in found] == ordered


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_range_includes_its_lower_and_excludes_its_upper_bound(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, ["a"] * 30)
    rows = prepare(database, column())
    keys = [row.key for row in read_all(rows)]
    assert [row.key for row in read_all(rows, KeyRange(keys[5], keys[12]), page=3)] == keys[5:12]
    assert [row.key for row in read_all(rows, KeyRange(None, keys[5]), page=3)] == keys[:5]
    assert [row.key for row in read_all(rows, KeyRange(keys[25], None), page=3)] == keys[25:]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_write_changes_its_row_and_no_other(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(40)])
    rows = prepare(database, column())
    pending = read_all(rows)
    assert write(rows, pending) == 40
    written = vectors(connection, shape)
    for position, row in enumerate(pending, start=1):
        vector = written[row.key]
        assert vector is not None
        assert vector.tolist() == [position] * STUB_DIM
    assert read_all(rows) == []


def test_fingerprint_is_the_hash_of_model_and_text(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["Ünïcödé 🐘"])
    rows = prepare(database, column(), model_id="a-model")
    pending = read_all(rows)
    expected = hashlib.md5("a-model\nÜnïcödé 🐘".encode()).hexdigest()
    assert [row.fingerprint for row in pending] == [expected]
    write(rows, pending)
    assert connection.execute("SELECT passage_vector_fingerprint FROM passage").fetchall() == [(expected,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_row_edited_after_it_was_read_is_not_written(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, ["one", "two", "three"])
    rows = prepare(database, column())
    pending = read_all(rows)
    set_text(connection, shape, 1, "two, corrected")
    assert write(rows, pending) == 2
    written = vectors(connection, shape)
    assert [written[shape.key(number)] is None for number in range(3)] == [False, True, False]
    assert [row.input for row in read_all(rows)] == ["two, corrected"]


def test_row_deleted_or_emptied_after_it_was_read_is_not_written(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one", "two", "three"])
    rows = prepare(database, column())
    pending = read_all(rows)
    connection.execute("DELETE FROM passage WHERE passage = 'one'")
    set_text(connection, INT_SHAPE, 1, None)
    assert write(rows, pending) == 1
    assert read_all(rows) == []


def test_row_edited_back_to_the_same_text_is_written(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    rows = prepare(database, column())
    pending = read_all(rows)
    set_text(connection, INT_SHAPE, 0, "two")
    set_text(connection, INT_SHAPE, 0, "one")
    assert write(rows, pending) == 1


@pytest.mark.parametrize("blank", [None, "", " ", "\t\r\n \f\v"])
def test_blank_input_is_never_pending(database: Database, connection: psycopg.Connection, blank: str | None) -> None:
    create_table(connection, texts=["one", blank])
    rows = prepare(database, column())
    assert [row.input for row in read_all(rows)] == ["one"]
    assert rows.count(EVERYTHING) == RowCounts(rows=2, embedded=0, pending=1, blank=1)


def test_surrounding_blanks_are_part_of_the_input(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["  one\n"])
    assert [row.input for row in read_all(prepare(database, column()))] == ["  one\n"]


def test_counts_after_writes_and_edits(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one", "two", "three", None])
    rows = prepare(database, column())
    assert rows.count(EVERYTHING) == RowCounts(rows=4, embedded=0, pending=3, blank=1)
    write(rows, read_all(rows))
    assert rows.count(EVERYTHING) == RowCounts(rows=4, embedded=3, pending=0, blank=1)
    set_text(connection, INT_SHAPE, 0, "one, edited")
    assert rows.count(EVERYTHING) == RowCounts(rows=4, embedded=3, pending=1, blank=1)
    assert [row.input for row in rows.read(EVERYTHING, STALE, None, 10)] == ["one, edited"]
    assert rows.count(KeyRange(INT_SHAPE.key(1), INT_SHAPE.key(3))) == RowCounts(2, 2, 0, 0)


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_vector_is_cleared_when_its_text_becomes_blank(
    database: Database, connection: psycopg.Connection, blank: str | None
) -> None:
    create_table(connection, texts=["one", "two"])
    rows = prepare(database, column())
    write(rows, read_all(rows))
    set_text(connection, INT_SHAPE, 0, blank)
    assert rows.clear(EVERYTHING, STALE).rows == 1
    assert [vector is None for vector in vectors(connection).values()].count(True) == 1
    assert vectors(connection)[INT_SHAPE.key(0)] is None
    fingerprints = connection.execute(
        "SELECT count(*) FROM passage WHERE passage_vector_fingerprint IS NOT NULL"
    ).fetchone()
    assert fingerprints == (1,)
    assert rows.clear(EVERYTHING, STALE).rows == 0


def test_clear_changes_only_its_range(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one", "two", "three"])
    rows = prepare(database, column())
    write(rows, read_all(rows))
    connection.execute("UPDATE passage SET passage = NULL")
    assert rows.clear(KeyRange(INT_SHAPE.key(1), INT_SHAPE.key(2)), STALE).rows == 1
    assert rows.clear(EVERYTHING, STALE).rows == 2


def test_another_model_makes_every_vector_stale(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one", "two"])
    rows = prepare(database, column(), model_id="first")
    write(rows, read_all(rows))
    second = prepare(database, column(), model_id="second")
    assert second.count(EVERYTHING).pending == 2
    assert len(second.read(EVERYTHING, STALE, None, 10)) == 2


def test_nulls_only_finds_only_rows_without_a_vector(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one", "two"])
    spec = column(staleness="nulls_only")
    rows = prepare(database, spec, model_id="first")
    write(rows, read_all(rows))
    set_text(connection, INT_SHAPE, 0, "edited")
    set_text(connection, INT_SHAPE, 1, None)
    rows = prepare(database, spec, model_id="second")
    assert rows.count(EVERYTHING).pending == 0
    connection.execute("UPDATE passage SET passage_vector = NULL")
    assert [row.input for row in read_all(rows)] == ["edited"]


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        ("INT8", "42", 42),
        ("NUMERIC(8,2)", "1.50", "1.50"),
        ("BOOL", "false", False),
        ("BYTEA", r"'\x00ff'", b"\x00\xff"),
        ("VARCHAR(9)", "'a text'", "a text"),
    ],
)
def test_column_of_any_type_can_be_an_input(
    database: Database, connection: psycopg.Connection, kind: str, written: str, read: object
) -> None:
    connection.execute(sql.SQL("CREATE TABLE passage (id INT8 PRIMARY KEY, passage {})").format(sql.SQL(kind)))
    connection.execute(sql.SQL("INSERT INTO passage VALUES (1, {}), (2, NULL)").format(sql.SQL(written)))
    rows = prepare(database, column())
    pending = read_all(rows)
    assert [str(row.input) if isinstance(read, str) else row.input for row in pending] == [read]
    assert write(rows, pending) == 1
    assert rows.count(EVERYTHING) == RowCounts(rows=2, embedded=1, pending=0, blank=1)
