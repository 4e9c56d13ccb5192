"""The work itself: every pending row embedded once, by any key, beside writers, through failures, and nothing twice."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh import BatchDone
from tests.support.models import CallLog, stub, stub_vector
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, insert_rows, set_text, vectors
from tests.support.work import embed, prepare


class WhileEncoding:
    """The counting stub, and something that happens while it has a batch: a double for what cannot be timed."""

    def __init__(self, happens: Callable[[int], None]) -> None:
        self._happens = happens
        self._stub = stub()

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        self._happens(batch_index)
        return self._stub.encode(batch, batch_index)


def texts(count: int) -> list[str | None]:
    return [f"text number {number}" for number in range(count)]


def check_vectors(connection: psycopg.Connection, shape: KeyShape, expected: Sequence[str | None]) -> None:
    """Each row has the vector of its text, and a row without text has none."""
    written = vectors(connection, shape)
    assert len(written) == len(expected)
    for number, text in enumerate(expected):
        vector = written[shape.key(number)]
        if text is None:
            assert vector is None
        else:
            assert vector is not None
            assert np.array_equal(vector, stub_vector(text)), f"row {number} has the vector of another text"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_row_is_embedded_exactly_once_and_then_nothing_is(
    database: Database, connection: psycopg.Connection, calls: CallLog, shape: KeyShape
) -> None:
    create_table(connection, shape, texts(2_000))
    report = embed(database, column(), batch_size=256)
    assert (report.batches, report.rows_read, report.rows_embedded, report.rows_changed) == (8, 2_000, 2_000, 0)
    assert Counter(calls.inputs()) == Counter(texts(2_000))
    check_vectors(connection, shape, texts(2_000))
    calls.clear()
    again = embed(database, column())
    assert (again.batches, again.rows_read, again.rows_embedded, again.rows_cleared) == (0, 0, 0, 0)
    assert calls.batches() == []


def test_a_second_run_writes_nothing(postgres: Server, calls: CallLog) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=[*texts(300), None])
        embed(database, column())
        versions = connection.execute("SELECT id, ctid::text, xmin::text FROM passage ORDER BY id").fetchall()
        embed(database, column())
        assert connection.execute("SELECT id, ctid::text, xmin::text FROM passage ORDER BY id").fetchall() == versions


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_does_the_same_work(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    create_table(connection, texts=texts(500))
    report = embed(database, column(), batch_size=20, workers=workers)
    assert (report.batches, report.rows_embedded) == (25, 500)
    assert Counter(calls.inputs()) == Counter(texts(500))
    check_vectors(connection, INT_SHAPE, texts(500))


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_batches_than_asked_for_are_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    create_table(connection, texts=texts(100))
    report = embed(database, column(), batch_size=10, max_batches=3, workers=workers)
    assert (report.batches, report.rows_embedded) == (3, 30)
    assert len(calls.inputs()) == 30
    assert embed(database, column()).rows_embedded == 70
    check_vectors(connection, INT_SHAPE, texts(100))


def test_only_the_rows_of_the_range_are_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(50))
    key_range = KeyRange(INT_SHAPE.key(10), INT_SHAPE.key(20))
    assert embed(database, column(), key_range=key_range, batch_size=3).rows_embedded == 10
    assert sorted(calls.inputs()) == sorted(str(text) for text in texts(50)[10:20])


def test_each_batch_is_told_with_its_rows(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=texts(25))
    told: list[BatchDone] = []
    embed(database, column(), batch_size=10, on_batch=told.append)
    assert [(batch.index, len(batch.rows), batch.embedded) for batch in told] == [(1, 10, 10), (2, 10, 10), (3, 5, 5)]
    assert [row.key for batch in told for row in batch.rows] == [INT_SHAPE.key(number) for number in range(25)]


def test_a_row_edited_while_it_is_encoded_keeps_no_wrong_vector(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(30))

    def edit(batch_index: int) -> None:
        if batch_index == 2:
            set_text(connection, INT_SHAPE, 15, "edited meanwhile")

    report = embed(database, column(), WhileEncoding(edit), batch_size=10)
    assert (report.rows_embedded, report.rows_changed) == (29, 1)
    assert vectors(connection)[INT_SHAPE.key(15)] is None
    assert embed(database, column()).rows_embedded == 1
    expected = texts(30)
    expected[15] = "edited meanwhile"
    check_vectors(connection, INT_SHAPE, expected)


def test_a_row_edited_while_it_is_encoded_again_keeps_its_old_vector_until_the_next_run(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["first"])
    embed(database, column())
    set_text(connection, INT_SHAPE, 0, "second")
    encoder = WhileEncoding(lambda _: set_text(connection, INT_SHAPE, 0, "third"))
    assert embed(database, column(), encoder).rows_changed == 1
    check_vectors(connection, INT_SHAPE, ["first"])
    assert embed(database, column()).rows_embedded == 1
    check_vectors(connection, INT_SHAPE, ["third"])


def test_a_row_deleted_while_it_is_encoded_is_counted_as_changed(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(10))

    def delete(_: int) -> None:
        connection.execute("DELETE FROM passage WHERE passage = 'text number 3'")

    report = embed(database, column(), WhileEncoding(delete))
    assert (report.rows_embedded, report.rows_changed) == (9, 1)
    assert embed(database, column()).rows_read == 0


def test_rows_that_arrive_behind_the_reader_are_embedded_by_the_next_run(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(20))
    late: dict[int, str | None] = {-5: "late"}

    def arrive(batch_index: int) -> None:
        if batch_index == 2:
            insert_rows(connection, INT_SHAPE, late)

    assert embed(database, column(), WhileEncoding(arrive), batch_size=10).rows_embedded == 20
    assert embed(database, column()).rows_embedded == 1
    assert calls.inputs()[-1] == "late"


def test_blank_and_missing_inputs_are_not_shown_to_the_model(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["one", None, "", "  ", "\n\t", "two"])
    assert embed(database, column()).rows_embedded == 2
    assert sorted(calls.inputs()) == ["one", "two"]
    assert prepare(database, column()).count(KeyRange()).blank == 4


def test_an_input_that_goes_away_takes_its_vector_with_it(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(5))
    embed(database, column())
    set_text(connection, INT_SHAPE, 1, None)
    set_text(connection, INT_SHAPE, 2, "  ")
    report = embed(database, column())
    assert (report.rows_cleared, report.rows_embedded) == (2, 0)
    check_vectors(connection, INT_SHAPE, ["text number 0", None, None, "text number 3", "text number 4"])


def test_an_input_that_comes_back_is_embedded_again(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["one"])
    for text in ("one", None, "one"):
        set_text(connection, INT_SHAPE, 0, text)
        embed(database, column())
    assert calls.inputs() == ["one", "one"]
    check_vectors(connection, INT_SHAPE, ["one"])


def _articles(connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE TABLE passage (id INT8 PRIMARY KEY, title TEXT, body TEXT, year INT8, at TIMESTAMPTZ, raw BYTEA)"
    )
    connection.execute(
        "INSERT INTO passage VALUES (1, 'A title', 'A body', 2026, '2026-02-01 00:30:00+09', '\\x00ff'), "
        "(2, NULL, 'Body {only} 100%', NULL, NULL, NULL), (3, 'Title only', '', 1999, NULL, NULL), "
        "(4, NULL, NULL, NULL, NULL, NULL), (5, ' ', NULL, NULL, NULL, NULL)"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"input": ["title", "body"]},
            ["A title\nA body", "Body {only} 100%", "Title only\n"],
        ),
        (
            {"input": ["title", "year"]},
            ["A title\n2026", "Title only\n1999"],
        ),
        (
            {"template": "{title}: {body}"},
            ["A title: A body", ": Body {only} 100%", "Title only: "],
        ),
        (
            {"template": '{{it\'s}} 100% %s %(limit)s \\ {title} "{title}"\n'},
            [
                '{it\'s} 100% %s %(limit)s \\ A title "A title"\n',
                '{it\'s} 100% %s %(limit)s \\ Title only "Title only"\n',
            ],
        ),
        (
            {"template": "{year} {at} {raw}"},
            ["2026 2026-01-31 15:30:00+00 00ff", "1999  "],
        ),
    ],
    ids=["list", "list with a number", "template", "odd template", "types"],
)
def test_an_input_of_several_columns_is_one_text(
    database: Database,
    connection: psycopg.Connection,
    calls: CallLog,
    spec: dict[str, object],
    expected: list[str],
) -> None:
    _articles(connection)
    given = column(**spec)
    assert embed(database, given).rows_embedded == len(expected)
    assert calls.inputs() == expected
    assert embed(database, given).rows_read == 0
    assert prepare(database, given).count(KeyRange()).blank == 5 - len(expected)


def test_an_edit_of_any_input_column_is_noticed(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    _articles(connection)
    spec = column(template="{title}: {body} ({year})")
    embed(database, spec)
    calls.clear()
    connection.execute("UPDATE passage SET year = 2027 WHERE id = 1")
    connection.execute("UPDATE passage SET at = now() WHERE id = 2")
    embed(database, spec)
    assert calls.inputs() == ["A title: A body (2027)"]


def test_another_template_makes_every_row_pending(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(3))
    embed(database, column(template="{passage}"))
    calls.clear()
    embed(database, column(template="query: {passage}"))
    assert sorted(calls.inputs()) == [f"query: {text}" for text in texts(3)]


def test_bytes_reach_the_model_as_bytes(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, image BYTEA)")
    connection.execute("INSERT INTO passage VALUES (1, '\\x00ff10'), (2, NULL), (3, '')")
    spec = column(input="image", model="stub_hash")
    assert embed(database, spec).rows_embedded == 1
    written = vectors(connection)
    assert written[(1,)] is not None
    assert np.array_equal(written[(1,)], stub_vector(b"\x00\xff\x10"))
    assert (written[(2,)], written[(3,)]) == (None, None)


def test_another_model_embeds_every_row_again(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(10))
    embed(database, column(), model_id="revision 1")
    calls.clear()
    assert embed(database, column(), model_id="revision 1").rows_read == 0
    assert embed(database, column(), model_id="revision 2").rows_embedded == 10
    assert len(calls.inputs()) == 10


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (EncoderUnavailable("The model does not answer."), "The model does not answer"),
        (RuntimeError("a bug"), "a bug"),
    ],
    ids=["unavailable", "bug"],
)
def test_a_model_that_fails_ends_the_run_and_what_was_encoded_is_written(
    database: Database, connection: psycopg.Connection, calls: CallLog, failure: Exception, message: str
) -> None:
    create_table(connection, texts=texts(100))

    def fail(batch_index: int) -> None:
        if batch_index == 4:
            raise failure

    with pytest.raises(type(failure), match=message):
        embed(database, column(), WhileEncoding(fail), batch_size=10)
    assert sum(vector is not None for vector in vectors(connection).values()) == len(calls.inputs()) == 30
    assert _refresh_threads() == []
    assert embed(database, column()).rows_embedded == 70
    check_vectors(connection, INT_SHAPE, texts(100))


def test_a_model_that_fails_with_several_workers_ends_them_all(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(200))

    def fail(batch_index: int) -> None:
        if batch_index == 5:
            raise EncoderUnavailable("The model does not answer.")

    with pytest.raises(EncodingError, match="does not answer"):
        embed(database, column(), WhileEncoding(fail), batch_size=5, workers=3)
    assert _refresh_threads() == []
    written = sum(vector is not None for vector in vectors(connection).values())
    assert written == len(calls.inputs())
    assert embed(database, column()).rows_embedded == 200 - written


def test_a_statement_that_is_refused_whatever_the_row_ends_the_run(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(100))

    def drop(batch_index: int) -> None:
        if batch_index == 2:
            connection.execute("ALTER TABLE passage DROP COLUMN passage_vector_fingerprint")

    with pytest.raises(DatabaseError, match=r"The database refused a statement while running .* \(SQLSTATE 42703\)"):
        embed(database, column(), WhileEncoding(drop), batch_size=10, workers=2)
    assert _refresh_threads() == []


def test_an_interruption_ends_every_thread(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=texts(100))

    def interrupt(_: BatchDone) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(database, column(), batch_size=5, workers=2, on_batch=interrupt)
    assert _refresh_threads() == []
    assert embed(database, column()).rows_embedded == 95
    check_vectors(connection, INT_SHAPE, texts(100))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stop_ends_after_the_batches_in_hand(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    create_table(connection, texts=texts(500))
    stop = threading.Event()
    report = embed(database, column(), batch_size=5, workers=workers, stop=stop, on_batch=lambda _: stop.set())
    # In hand are at most: two queues of twice the workers, one batch with each of them, one read, one written.
    assert 1 <= report.batches <= 5 * workers + 2
    assert report.rows_embedded == 5 * report.batches == len(calls.inputs())
    assert embed(database, column()).rows_embedded == 500 - report.rows_embedded
    check_vectors(connection, INT_SHAPE, texts(500))


def test_a_table_without_rows_is_no_trouble(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection)
    report = embed(database, column())
    assert (report.batches, report.rows_read, report.rows_per_second) == (0, 0, 0.0)


@pytest.mark.parametrize(
    "kind", ["VARCHAR(20)", "CHAR(12)", "NUMERIC(20,5)", "TIMESTAMPTZ", "DATE", "FLOAT8", "BYTEA", "BOOL"]
)
def test_keys_of_other_types_are_read_and_written_too(
    database: Database, connection: psycopg.Connection, calls: CallLog, kind: str
) -> None:
    values = {
        "VARCHAR(20)": ["'a '", "'ä'", "''"],
        "CHAR(12)": ["'a'", "'b c'", "'ä'"],
        "NUMERIC(20,5)": ["1.50000", "-0.00001", "123456789012345.12345"],
        "TIMESTAMPTZ": ["'2026-01-01 00:00:00.123456+09'", "'1999-12-31 23:59:59Z'", "'2026-06-01 00:00:00+02'"],
        "DATE": ["'2026-01-01'", "'1582-10-15'", "'0001-01-01'"],
        "FLOAT8": ["0.1", "1e300", "-2.5e-10"],
        "BYTEA": ["'\\x00'", "'\\xff00'", "''"],
        "BOOL": ["true", "false"],
    }[kind]
    connection.execute(sql.SQL("CREATE TABLE passage (id {} PRIMARY KEY, passage TEXT)").format(sql.SQL(kind)))
    for number, value in enumerate(values):
        connection.execute(
            sql.SQL("INSERT INTO passage VALUES ({}, {})").format(sql.SQL(value), sql.Literal(f"text {number}"))
        )
    report = embed(database, column(), batch_size=1)
    assert (report.rows_embedded, report.rows_changed) == (len(values), 0)
    assert embed(database, column()).rows_read == 0


def _refresh_threads() -> list[str]:
    """The threads of refreshes that are still there; those of the connection pool may be."""
    of_a_refresh = ("crdbvec-read", "crdbvec-encode")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(of_a_refresh)]
