"""The follower: it embeds rows that become pending, retries during outages, and ends when it is stopped."""

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
from crdbvec_pipelines.keyspace import ranges_between
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.refresh.rounds import RoundResult
from tests.support.models import CallLog, registry, stub_vector
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text, vectors
from tests.support.waiting import wait_until
from tests.support.work import prepare


@dataclass
class Running:
    """A follower that runs in a thread, and its results."""

    followed: Sequence[FollowedColumn]
    stop: threading.Event = field(default_factory=threading.Event)
    rounds: list[tuple[str, RoundResult]] = field(default_factory=list)
    report: RefreshReport | None = None


@contextmanager
def following(database: Database, *specs: VectorColumn) -> Iterator[Running]:
    """Run a follower of these columns, and stop it at the end."""
    running = Running([FollowedColumn(prepare(database, spec), registry().load(spec.model)) for spec in specs])
    follower = Follower(
        running.followed,
        stop=running.stop,
        on_round=lambda followed, result: running.rounds.append((followed.spec.output, result)),
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
    """Wait until this many rows have a vector."""
    wait_until(lambda: embedded(connection, output) == count)


def embedded(connection: psycopg.Connection, output: str = "passage_vector") -> int:
    return sum(vector is not None for vector in vectors(connection, output=output).values())


def test_new_rows_are_embedded(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["a"])
    with following(database, column()) as running:
        wait_for(connection, 1)
        for number in range(1, 4):
            insert_rows(connection, INT_SHAPE, {number: f"text {number}"})
            wait_for(connection, number + 1)
    assert calls.inputs() == ["a", "text 1", "text 2", "text 3"]
    assert running.report is not None
    assert (running.report.rows_embedded, running.report.batches) == (4, 4)
    assert [result.report.rows_embedded for _, result in running.rounds] == [1, 1, 1, 1]


def test_first_round_finds_rows_edited_while_no_follower_ran(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    with following(database, column()):
        wait_for(connection, 2)
    set_text(connection, INT_SHAPE, 0, "edited")
    set_text(connection, INT_SHAPE, 1, None)
    with following(database, column()):
        wait_until(lambda: calls.inputs()[2:] == ["edited"] and embedded(connection) == 1)


def test_edit_is_found_by_updated_at_without_a_scan(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b"])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ DEFAULT now()")
    with following(database, column(updated_at="updated")) as running:
        wait_until(lambda: len(running.rounds) == 1)
        running.followed[0].next_scan_at = inf
        set_text(connection, INT_SHAPE, 0, "edited")
        connection.execute("UPDATE passage SET updated = now()")
        wait_until(lambda: calls.inputs()[2:] == ["edited"])
        set_text(connection, INT_SHAPE, 1, None)
        wait_for(connection, 1)


def test_touched_key_ranges_are_reported_if_ranges_are_given(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b", "c", "d"])
    ranges = ranges_between([INT_SHAPE.key(1), INT_SHAPE.key(3)])
    rounds: list[RoundResult] = []
    followed = FollowedColumn(prepare(database, column()), registry().load("stub_counting"), ranges)
    Follower([followed], stop=threading.Event(), max_idle=0, on_round=lambda _, result: rounds.append(result)).run()
    (result,) = rounds
    assert dict(result.touched) == {ranges[0]: 1, ranges[1]: 2, ranges[2]: 1}


def test_follower_ends_after_max_idle(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=["a", "b"])
    followed = FollowedColumn(prepare(database, column()), registry().load("stub_counting"))
    report = Follower([followed], stop=threading.Event(), max_idle=0.2).run()
    assert report.rows_embedded == 2


def test_follower_stops_after_the_current_batches(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(100)])
    stop = threading.Event()
    followed = FollowedColumn(prepare(database, column(batch_size=10)), registry().load("stub_counting"))
    report = Follower([followed], stop=stop, on_batch=lambda _: stop.set()).run()
    # What had been encoded is written; the other rows stay pending.
    assert report.rows_embedded == len(calls.inputs()) == embedded(connection) < 100


def test_unavailable_model_is_retried_and_not_a_row_failure(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    outage = calls.path.with_suffix(".unavailable")
    outage.touch()
    with following(database, column(model="stub_failing")) as running:
        wait_until(lambda: running.followed[0].last_error is not None)
        outage.unlink()
        wait_for(connection, 1)
        assert running.followed[0].rows.errors.count().total == 0


def test_work_before_an_outage_of_the_model_is_reported(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "b", "UNAVAILABLE", "d"])
    with following(database, column(model="stub_failing", batch_size=1)) as running:
        wait_until(lambda: running.followed[0].last_error is not None)
    assert [result.report.rows_embedded for _, result in running.rounds] == [2]
    assert running.report is not None
    assert running.report.rows_embedded == 2


def test_outage_of_one_model_does_not_delay_other_columns(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    calls.path.with_suffix(".unavailable").touch()
    with following(database, column(model="stub_failing"), column(model="stub_hash", output="other")) as running:
        wait_until(lambda: running.followed[0].last_error is not None)
        insert_rows(connection, INT_SHAPE, {1: "b"})
        wait_for(connection, 2, "other")
        assert embedded(connection) == 0


def test_outage_that_lasts_until_max_idle_is_raised(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    calls.path.with_suffix(".unavailable").touch()
    followed = FollowedColumn(prepare(database, column(model="stub_failing")), registry().load("stub_failing"))
    with pytest.raises(EncoderUnavailable, match="overloaded"):
        Follower([followed], stop=threading.Event(), max_idle=0.3).run()


def test_model_that_rejects_everything_ends_the_follower(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"REJECTED {number}" for number in range(100)])
    followed = FollowedColumn(prepare(database, column(model="stub_failing")), registry().load("stub_failing"))
    with pytest.raises(EncodingError, match="The first 100 rows all failed"):
        Follower([followed], stop=threading.Event()).run()


def test_failed_rows_are_deferred_and_other_rows_embedded(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "REJECTED", "c"])
    with following(database, column(model="stub_failing")) as running:
        wait_until(lambda: embedded(connection) == 2 and len(running.rounds) == 1)
        insert_rows(connection, INT_SHAPE, {3: "d"})
        wait_for(connection, 3)
        set_text(connection, INT_SHAPE, 1, "corrected")
        wait_for(connection, 4)
        wait_until(lambda: running.followed[0].rows.errors.count().total == 0)
    assert sorted(calls.inputs()) == ["a", "c", "corrected", "d"]


def test_follower_reconnects_after_the_server_terminates_its_connections(postgres: Server, calls: CallLog) -> None:
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
