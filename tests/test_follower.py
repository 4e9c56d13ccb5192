"""A process that follows: it finds what becomes pending, waits out what is away, and ends when it is told to."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError
from crdbvec_pipelines.follower import Followed, Follower
from crdbvec_pipelines.following import Round
from crdbvec_pipelines.keyspace import ranges_between
from crdbvec_pipelines.refresh import RefreshReport
from tests.support.models import CallLog, registry, stub_vector
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text, vectors
from tests.support.waiting import wait_until
from tests.support.work import prepare


@dataclass
class Running:
    """A follower at work in a thread, and what it told."""

    followed: Sequence[Followed]
    stop: threading.Event = field(default_factory=threading.Event)
    rounds: list[tuple[str, Round]] = field(default_factory=list)
    report: RefreshReport | None = None


@contextmanager
def following(database: Database, *specs: VectorColumn) -> Iterator[Running]:
    """A follower of these columns, stopped at the end."""
    running = Running([Followed(prepare(database, spec), registry().load(spec.model)) for spec in specs])
    follower = Follower(
        running.followed,
        stop=running.stop,
        on_round=lambda followed, done: running.rounds.append((followed.spec.output, done)),
    )

    def run() -> None:
        running.report = follower.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        thread.join()


def wait_for(connection: psycopg.Connection, count: int, output: str = "passage_vector") -> None:
    """Waits until so many rows have a vector."""
    wait_until(lambda: embedded(connection, output) == count)


def embedded(connection: psycopg.Connection, output: str = "passage_vector") -> int:
    return sum(vector is not None for vector in vectors(connection, output=output).values())


def test_rows_are_embedded_as_they_come(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["a"])
    with following(database, column()) as running:
        wait_for(connection, 1)
        for number in range(1, 4):
            insert_rows(connection, INT_SHAPE, {number: f"text {number}"})
            wait_for(connection, number + 1)
    assert calls.inputs() == ["a", "text 1", "text 2", "text 3"]
    assert running.report is not None
    assert (running.report.rows_embedded, running.report.batches) == (4, 4)
    assert [done.report.rows_embedded for _, done in running.rounds] == [1, 1, 1, 1]


def test_the_first_look_finds_what_was_edited_while_nobody_followed(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    with following(database, column()):
        wait_for(connection, 2)
    set_text(connection, INT_SHAPE, 0, "edited")
    set_text(connection, INT_SHAPE, 1, None)
    with following(database, column()):
        wait_until(lambda: calls.inputs()[2:] == ["edited"] and embedded(connection) == 1)


def test_an_edit_is_found_without_a_scan_where_it_is_known_when_rows_were_updated(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ DEFAULT now()")
    with following(database, column(updated_at="updated")) as running:
        wait_until(lambda: len(running.rounds) == 1)
        running.followed[0].next_scan = inf
        set_text(connection, INT_SHAPE, 0, "edited")
        connection.execute("UPDATE passage SET updated = now()")
        wait_until(lambda: calls.inputs()[2:] == ["edited"])
        set_text(connection, INT_SHAPE, 1, None)
        wait_for(connection, 1)


def test_touched_key_ranges_are_told_where_they_are_known(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b", "c", "d"])
    ranges = ranges_between([INT_SHAPE.key(1), INT_SHAPE.key(3)])
    rounds: list[Round] = []
    followed = Followed(prepare(database, column()), registry().load("stub_counting"), ranges)
    Follower([followed], stop=threading.Event(), max_idle=0, on_round=lambda _, done: rounds.append(done)).run()
    (done,) = rounds
    assert dict(done.touched) == {ranges[0]: 1, ranges[1]: 2, ranges[2]: 1}


def test_it_ends_when_it_has_been_idle_for_long_enough(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    followed = Followed(prepare(database, column()), registry().load("stub_counting"))
    report = Follower([followed], stop=threading.Event(), max_idle=0.2).run()
    assert report.rows_embedded == 2


def test_it_ends_after_the_batches_in_hand_when_it_is_stopped(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(100)])
    stop = threading.Event()
    followed = Followed(prepare(database, column(batch_size=10)), registry().load("stub_counting"))
    report = Follower([followed], stop=stop, on_batch=lambda _: stop.set()).run()
    # What was encoded at that moment is written; the rest is left.
    assert report.rows_embedded == len(calls.inputs()) == embedded(connection) < 100


def test_a_model_that_is_away_is_waited_for_and_blames_no_row(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    away = calls.path.with_suffix(".away")
    away.touch()
    with following(database, column(model="stub_moody")) as running:
        wait_until(lambda: running.followed[0].fault is not None)
        away.unlink()
        wait_for(connection, 1)
        assert running.followed[0].rows.errors.count().total == 0


def test_what_was_done_before_the_model_went_away_is_told(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b", "AWAY", "d"])
    with following(database, column(model="stub_moody", batch_size=1)) as running:
        wait_until(lambda: running.followed[0].fault is not None)
    assert [done.report.rows_embedded for _, done in running.rounds] == [2]
    assert running.report is not None
    assert running.report.rows_embedded == 2


def test_one_model_that_is_away_keeps_no_other_column_waiting(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    calls.path.with_suffix(".away").touch()
    with following(database, column(model="stub_moody"), column(model="stub_hash", output="other")) as running:
        wait_until(lambda: running.followed[0].fault is not None)
        insert_rows(connection, INT_SHAPE, {1: "b"})
        wait_for(connection, 2, "other")
        assert embedded(connection) == 0


def test_a_model_that_stays_away_is_an_error_where_it_should_have_ended(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    calls.path.with_suffix(".away").touch()
    followed = Followed(prepare(database, column(model="stub_moody")), registry().load("stub_moody"))
    with pytest.raises(EncoderUnavailable, match="overloaded"):
        Follower([followed], stop=threading.Event(), max_idle=0.3).run()


def test_a_model_that_refuses_everything_ends_it(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"POISON {number}" for number in range(100)])
    followed = Followed(prepare(database, column(model="stub_moody")), registry().load("stub_moody"))
    with pytest.raises(EncodingError, match="All of the first 100 rows were refused"):
        Follower([followed], stop=threading.Event()).run()


def test_bad_rows_are_left_alone_and_the_others_go_on(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "POISON", "c"])
    with following(database, column(model="stub_moody")) as running:
        wait_until(lambda: embedded(connection) == 2 and len(running.rounds) == 1)
        insert_rows(connection, INT_SHAPE, {3: "d"})
        wait_for(connection, 3)
        set_text(connection, INT_SHAPE, 1, "mended")
        wait_for(connection, 4)
        wait_until(lambda: running.followed[0].rows.errors.count().total == 0)
    assert sorted(calls.inputs()) == ["a", "c", "d", "mended"]


def test_it_survives_that_the_server_ends_its_connections(postgres: Server, calls: CallLog) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=["a"])
        with following(database, column()) as running:
            wait_for(connection, 1)
            for number in range(1, 6):
                ended = connection.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE application_name = 'crdbvec' AND datname = current_database()"
                ).fetchone()
                assert ended is not None
                assert ended[0] > 0
                insert_rows(connection, INT_SHAPE, {number: f"text {number}"})
                wait_for(connection, number + 1)
        assert running.report is not None
        found = vectors(connection)
    expected = {INT_SHAPE.key(n): stub_vector(f"text {n}" if n else "a").tolist() for n in range(6)}
    assert {key: None if vector is None else vector.tolist() for key, vector in found.items()} == expected
