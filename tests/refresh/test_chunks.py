"""Entries with `long_inputs: chunks`: the chunk table equals a recomputation, whatever happens to the rows."""

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.range_state import range_state
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import complete_range
from crdbvec_pipelines.refresh.options import RefreshOptions
from tests.support.chunks import SIZE, check_chunks, chunked, counts, long_text, stored_chunks
from tests.support.models import registry
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, SHAPES, KeyShape, create_table, insert_rows, set_text
from tests.support.work import embed, prepare


def some_texts(count: int) -> dict[int, str | None]:
    return {number: long_text(number, number * 7 % 120) for number in range(count)} | {3: None, 4: "  "}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_chunks_equal_a_recomputation(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    texts = some_texts(60)
    create_table(connection, shape)
    insert_rows(connection, shape, texts)
    report = embed(database, chunked(), batch_size=16)
    embedded = sum(1 for text in texts.values() if text and not text.isspace())
    assert (report.rows_embedded, report.rows_failed) == (embedded, 0)
    check_chunks(connection, chunked(), texts, shape)
    assert embed(database, chunked()).rows_read == 0


def test_edited_rows_get_new_chunks_and_keep_none_of_the_old_ones(
    database: Database, connection: psycopg.Connection
) -> None:
    texts = {number: long_text(number, 100) for number in range(6)}
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    embed(database, chunked())
    texts |= {0: long_text(0, 30), 1: long_text(1, 300), 2: "short", 3: " "}
    for number, text in texts.items():
        set_text(connection, INT_SHAPE, number, text)
    report = embed(database, chunked())
    assert (report.rows_embedded, report.rows_cleared) == (3, 1)
    check_chunks(connection, chunked(), texts)


def test_a_text_may_have_more_chunks_than_one_statement_writes(
    database: Database, connection: psycopg.Connection
) -> None:
    texts = {0: long_text(0, 12_000), 1: long_text(1, 10)}
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    assert embed(database, chunked()).rows_embedded == 2
    assert (counts(connection, chunked())[INT_SHAPE.key(0)] or 0) > 1_000
    check_chunks(connection, chunked(), texts)
    for words in (11_000, 4_500, 20):
        texts[0] = long_text(7, words)
        set_text(connection, INT_SHAPE, 0, texts[0])
        assert embed(database, chunked()).rows_embedded == 1
        check_chunks(connection, chunked(), texts)


def test_deleted_rows_and_changed_keys_leave_no_chunk(database: Database, connection: psycopg.Connection) -> None:
    texts = {number: long_text(number, 60) for number in range(4)}
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    embed(database, chunked())
    connection.execute("DELETE FROM passage WHERE id = %s", INT_SHAPE.key(1))
    connection.execute("UPDATE passage SET id = %s WHERE id = %s", (*INT_SHAPE.key(9), *INT_SHAPE.key(2)))
    check_chunks(connection, chunked(), {0: texts[0], 9: texts[2], 3: texts[3]})


def test_without_a_foreign_key_the_refresh_removes_the_chunks_of_deleted_rows(
    database: Database, connection: psycopg.Connection
) -> None:
    texts = {number: long_text(number, 60) for number in range(5)}
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    rows = prepare(database, chunked())
    connection.execute(
        "ALTER TABLE passage_passage_vector_chunks DROP CONSTRAINT passage_passage_vector_chunks_id_fkey"
    )
    options = RefreshOptions(batch_size=10)
    complete_range(rows, registry().encoder_of(chunked()), KeyRange(), options)
    connection.execute("DELETE FROM passage WHERE id <= %s", INT_SHAPE.key(1))
    assert len(stored_chunks(connection, chunked())) == 5
    complete_range(rows, registry().encoder_of(chunked()), KeyRange(), options)
    check_chunks(connection, chunked(), {number: texts[number] for number in (2, 3, 4)})


def test_another_size_and_a_dropped_chunk_table_make_rows_pending(
    database: Database, connection: psycopg.Connection
) -> None:
    texts = {number: long_text(number, 60) for number in range(3)}
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    embed(database, chunked())
    other = chunked(chunks={**SIZE, "size": 30})
    assert embed(database, other).rows_embedded == 3
    check_chunks(connection, other, texts)
    connection.execute("DROP TABLE passage_passage_vector_chunks")
    assert embed(database, other).rows_embedded == 3
    check_chunks(connection, other, texts)


def test_stored_texts_follow_the_setting(database: Database, connection: psycopg.Connection) -> None:
    text = long_text(1, 90)
    create_table(connection, texts=[text])
    stored = chunked(chunks={**SIZE, "store_text": True})
    embed(database, stored)
    rows = connection.execute("SELECT chunk_text, chunk_start, chunk_end FROM passage_passage_vector_chunks").fetchall()
    assert len(rows) > 5
    assert all(found == text[start:end] for found, start, end in rows)
    assert embed(database, chunked()).rows_embedded == 0
    columns = connection.execute("SELECT * FROM passage_passage_vector_chunks LIMIT 0").description or ()
    assert "chunk_text" not in [each.name for each in columns]


def test_the_prefix_and_the_copied_columns_belong_to_the_fingerprint(
    database: Database, connection: psycopg.Connection
) -> None:
    texts = {number: long_text(number, 60) for number in range(10)}
    create_table(connection, COMPOSITE_SHAPE)
    connection.execute("ALTER TABLE passage ADD COLUMN title TEXT, ADD COLUMN tenant INT4")
    insert_rows(connection, COMPOSITE_SHAPE, texts)
    connection.execute("UPDATE passage SET title = 'a:b' || verse, tenant = verse % 3")
    spec = chunked(index={"prefix": ["tenant", "realm"]}, chunks={**SIZE, "prefix": "{title} -- "}, model="stub_hash")
    assert embed(database, spec).rows_embedded == 10
    copies = "SELECT count(*) FROM passage JOIN passage_passage_vector_chunks AS c USING (realm, chapter, verse) "
    assert connection.execute(copies + "WHERE c.tenant IS DISTINCT FROM passage.tenant").fetchone() == (0,)
    connection.execute("UPDATE passage SET tenant = 7 WHERE verse = 4")
    connection.execute("UPDATE passage SET title = 'other' WHERE verse = 5")
    assert embed(database, spec).rows_embedded == 2
    assert connection.execute(copies + "WHERE c.tenant IS DISTINCT FROM passage.tenant").fetchone() == (0,)
    assert set(counts(connection, spec, COMPOSITE_SHAPE.columns).values()) != {1}


def test_the_state_of_a_range_counts_source_rows(database: Database, connection: psycopg.Connection) -> None:
    texts = some_texts(30)
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    rows = prepare(database, chunked())
    done = complete_range(rows, registry().encoder_of(chunked()), KeyRange(), RefreshOptions(batch_size=10))
    state = range_state(rows.column, KeyRange())
    embedded = sum(1 for text in texts.values() if text and not text.isspace())
    assert done.is_done
    assert (state.rows, state.vectors, state.blank, state.unusable) == (30, embedded, 30 - embedded, 0)
    assert state.chunks == sum(map(len, stored_chunks(connection, chunked()).values()))
    assert state.coverage == 1.0
    assert rows.count(KeyRange()).embedded == embedded
