"""The refresh: every pending row is embedded exactly once, for every kind of key, with writers, and after errors."""

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
from crdbvec_pipelines.refresh.report import WrittenBatch
from tests.support.models import CallLog, stub, stub_vector
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, insert_rows, set_text, vectors
from tests.support.work import embed, prepare


class ObservedEncoder:
    """The counting stub, with a callback before it encodes each batch: for events that cannot be timed otherwise."""

    def __init__(self, on_encode: Callable[[int], None]) -> None:
        self._on_encode = on_encode
        self._stub = stub()

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        self._on_encode(batch_index)
        return self._stub.encode(batch, batch_index)


def texts(count: int) -> list[str | None]:
    return [f"text number {number}" for number in range(count)]


def check_vectors(connection: psycopg.Connection, shape: KeyShape, expected: Sequence[str | None]) -> None:
    """Assert that each row has the vector of its text, and that a row without text has none."""
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
def test_every_row_is_embedded_exactly_once_and_none_by_a_second_run(
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


def test_second_run_writes_nothing(postgres: Server, calls: CallLog) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=[*texts(300), None])
        embed(database, column())
        versions = connection.execute("SELECT id, ctid::text, xmin::text FROM passage ORDER BY id").fetchall()
        embed(database, column())
        assert connection.execute("SELECT id, ctid::text, xmin::text FROM passage ORDER BY id").fetchall() == versions


@pytest.mark.parametrize("workers", [1, 3])
def test_result_does_not_depend_on_the_number_of_workers(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    create_table(connection, texts=texts(500))
    report = embed(database, column(), batch_size=20, workers=workers)
    assert (report.batches, report.rows_embedded) == (25, 500)
    assert Counter(calls.inputs()) == Counter(texts(500))
    check_vectors(connection, INT_SHAPE, texts(500))


@pytest.mark.parametrize("workers", [1, 3])
def test_refresh_ends_after_max_batches(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    create_table(connection, texts=texts(100))
    report = embed(database, column(), batch_size=10, max_batches=3, workers=workers)
    assert (report.batches, report.rows_embedded) == (3, 30)
    assert len(calls.inputs()) == 30
    assert embed(database, column()).rows_embedded == 70
    check_vectors(connection, INT_SHAPE, texts(100))


def test_only_rows_of_the_key_range_are_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(50))
    key_range = KeyRange(INT_SHAPE.key(10), INT_SHAPE.key(20))
    assert embed(database, column(), key_range=key_range, batch_size=3).rows_embedded == 10
    assert sorted(calls.inputs()) == sorted(str(text) for text in texts(50)[10:20])


def test_on_batch_is_called_with_the_rows_of_each_batch(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(25))
    batches: list[WrittenBatch] = []
    embed(database, column(), batch_size=10, on_batch=batches.append)
    assert [(batch.index, len(batch.rows), batch.embedded) for batch in batches] == [
        (1, 10, 10),
        (2, 10, 10),
        (3, 5, 5),
    ]
    assert [row.key for batch in batches for row in batch.rows] == [INT_SHAPE.key(number) for number in range(25)]


def test_row_edited_while_it_is_encoded_gets_no_stale_vector(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(30))

    def edit(batch_index: int) -> None:
        if batch_index == 2:
            set_text(connection, INT_SHAPE, 15, "edited during the batch")

    report = embed(database, column(), ObservedEncoder(edit), batch_size=10)
    assert (report.rows_embedded, report.rows_changed) == (29, 1)
    assert vectors(connection)[INT_SHAPE.key(15)] is None
    assert embed(database, column()).rows_embedded == 1
    expected = texts(30)
    expected[15] = "edited during the batch"
    check_vectors(connection, INT_SHAPE, expected)


def test_row_edited_while_it_is_reencoded_keeps_its_old_vector_until_the_next_run(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["first"])
    embed(database, column())
    set_text(connection, INT_SHAPE, 0, "second")
    encoder = ObservedEncoder(lambda _: set_text(connection, INT_SHAPE, 0, "third"))
    assert embed(database, column(), encoder).rows_changed == 1
    check_vectors(connection, INT_SHAPE, ["first"])
    assert embed(database, column()).rows_embedded == 1
    check_vectors(connection, INT_SHAPE, ["third"])


def test_row_deleted_while_it_is_encoded_is_counted_as_changed(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(10))

    def delete(_: int) -> None:
        connection.execute("DELETE FROM passage WHERE passage = 'text number 3'")

    report = embed(database, column(), ObservedEncoder(delete))
    assert (report.rows_embedded, report.rows_changed) == (9, 1)
    assert embed(database, column()).rows_read == 0


def test_rows_inserted_before_the_read_position_are_embedded_by_the_next_run(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(20))
    late: dict[int, str | None] = {-5: "late"}

    def insert(batch_index: int) -> None:
        if batch_index == 2:
            insert_rows(connection, INT_SHAPE, late)

    assert embed(database, column(), ObservedEncoder(insert), batch_size=10).rows_embedded == 20
    assert embed(database, column()).rows_embedded == 1
    assert calls.inputs()[-1] == "late"


def test_blank_and_missing_inputs_are_not_passed_to_the_model(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["one", None, "", "  ", "\n\t", "two"])
    assert embed(database, column()).rows_embedded == 2
    assert sorted(calls.inputs()) == ["one", "two"]
    assert prepare(database, column()).count(KeyRange()).blank == 4


def test_vector_is_cleared_after_its_input_was_removed(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(5))
    embed(database, column())
    set_text(connection, INT_SHAPE, 1, None)
    set_text(connection, INT_SHAPE, 2, "  ")
    report = embed(database, column())
    assert (report.rows_cleared, report.rows_embedded) == (2, 0)
    check_vectors(connection, INT_SHAPE, ["text number 0", None, None, "text number 3", "text number 4"])


def test_input_that_was_removed_and_restored_is_embedded_again(
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
    ids=["list", "list with a number", "template", "template with special characters", "types"],
)
def test_input_columns_are_combined_into_one_text(
    database: Database,
    connection: psycopg.Connection,
    calls: CallLog,
    spec: dict[str, object],
    expected: list[str],
) -> None:
    _articles(connection)
    configured = column(**spec)
    assert embed(database, configured).rows_embedded == len(expected)
    assert calls.inputs() == expected
    assert embed(database, configured).rows_read == 0
    assert prepare(database, configured).count(KeyRange()).blank == 5 - len(expected)


def test_edit_of_any_input_column_makes_the_row_pending(
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


def test_change_of_the_template_makes_every_row_pending(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(3))
    embed(database, column(template="{passage}"))
    calls.clear()
    embed(database, column(template="query: {passage}"))
    assert sorted(calls.inputs()) == [f"query: {text}" for text in texts(3)]


def test_bytes_are_passed_to_the_model_as_bytes(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, image BYTEA)")
    connection.execute("INSERT INTO passage VALUES (1, '\\x00ff10'), (2, NULL), (3, '')")
    spec = column(input="image", model="stub_hash")
    assert embed(database, spec).rows_embedded == 1
    written = vectors(connection)
    assert written[(1,)] is not None
    assert np.array_equal(written[(1,)], stub_vector(b"\x00\xff\x10"))
    assert (written[(2,)], written[(3,)]) == (None, None)


def test_change_of_the_model_makes_every_row_pending(
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
        (EncoderUnavailable("The model is unavailable."), "The model is unavailable"),
        (RuntimeError("a bug"), "a bug"),
    ],
    ids=["unavailable", "bug"],
)
def test_error_of_the_model_ends_the_run_after_the_encoded_batches_are_written(
    database: Database, connection: psycopg.Connection, calls: CallLog, failure: Exception, message: str
) -> None:
    create_table(connection, texts=texts(100))

    def fail(batch_index: int) -> None:
        if batch_index == 4:
            raise failure

    with pytest.raises(type(failure), match=message):
        embed(database, column(), ObservedEncoder(fail), batch_size=10)
    assert sum(vector is not None for vector in vectors(connection).values()) == len(calls.inputs()) == 30
    assert _refresh_threads() == []
    assert embed(database, column()).rows_embedded == 70
    check_vectors(connection, INT_SHAPE, texts(100))


def test_error_of_the_model_ends_all_workers(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(200))

    def fail(batch_index: int) -> None:
        if batch_index == 5:
            raise EncoderUnavailable("The model is unavailable.")

    with pytest.raises(EncodingError, match="is unavailable"):
        embed(database, column(), ObservedEncoder(fail), batch_size=5, workers=3)
    assert _refresh_threads() == []
    written = sum(vector is not None for vector in vectors(connection).values())
    assert written == len(calls.inputs())
    assert embed(database, column()).rows_embedded == 200 - written


def test_statement_that_fails_for_every_row_ends_the_run(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(100))

    def drop(batch_index: int) -> None:
        if batch_index == 2:
            connection.execute("ALTER TABLE passage DROP COLUMN passage_vector_fingerprint")

    with pytest.raises(DatabaseError, match=r"The database rejected a statement while running .* \(SQLSTATE 42703\)"):
        embed(database, column(), ObservedEncoder(drop), batch_size=10, workers=2)
    assert _refresh_threads() == []


def test_keyboard_interrupt_ends_every_thread(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(100))

    def interrupt(_: WrittenBatch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(database, column(), batch_size=5, workers=2, on_batch=interrupt)
    assert _refresh_threads() == []
    assert embed(database, column()).rows_embedded == 95
    check_vectors(connection, INT_SHAPE, texts(100))


@pytest.mark.parametrize("workers", [1, 3])
def test_refresh_stops_after_the_current_batches(
    database: Database, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    create_table(connection, texts=texts(500))
    stop = threading.Event()
    report = embed(database, column(), batch_size=5, workers=workers, stop=stop, on_batch=lambda _: stop.set())
    # Current batches are at most: two queues of twice the workers, one in each worker, one being read, one written.
    assert 1 <= report.batches <= 5 * workers + 2
    assert report.rows_embedded == 5 * report.batches == len(calls.inputs())
    assert embed(database, column()).rows_embedded == 500 - report.rows_embedded
    check_vectors(connection, INT_SHAPE, texts(500))


def test_empty_table_is_refreshed(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection)
    report = embed(database, column())
    assert (report.batches, report.rows_read, report.rows_per_second) == (0, 0, 0.0)


@pytest.mark.parametrize(
    "kind", ["VARCHAR(20)", "CHAR(12)", "NUMERIC(20,5)", "TIMESTAMPTZ", "DATE", "FLOAT8", "BYTEA", "BOOL"]
)
def test_keys_of_other_types_are_read_and_written(
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
    """Return the names of running threads of a refresh."""
    prefixes = ("crdbvec-read", "crdbvec-encode")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefixes)]
