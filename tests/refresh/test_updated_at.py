"""The column `updated_at`: which types it can have, and the watermark, which no clock of this process determines."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import inf

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.rows.health import oldest_pending_seconds
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.refresh.rounds import read_watermark
from crdbvec_pipelines.refresh.watermark import OVERLAP, Watermark
from tests.support.models import CallLog, registry
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.work import embed, prepare, prepared

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_first_search_starts_before_the_latest_value() -> None:
    assert Watermark(NOON, NOON + SECOND).since == NOON - OVERLAP


def test_search_starts_after_a_value_that_stays_the_latest() -> None:
    watermark = Watermark(NOON, NOON)
    for seconds in (30, 300, 599):
        watermark = Watermark(NOON, NOON + seconds * SECOND).after(watermark)
        assert watermark.since == NOON - OVERLAP
    watermark = Watermark(NOON, NOON + OVERLAP).after(watermark)
    assert NOON < watermark.since < NOON + SECOND
    later = Watermark(NOON + SECOND, NOON + OVERLAP + SECOND).after(watermark)
    assert later.since == NOON + SECOND - OVERLAP


def test_watermark_follows_values_and_not_a_clock() -> None:
    hours = timedelta(hours=5)
    assert Watermark(NOON - hours, NOON).since == NOON - hours - OVERLAP


class Table:
    """A table with a column `updated`, and the connection of an application."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def edit(self, number: int, text: str, updated: str = "now()") -> None:
        self.connection.execute(f"UPDATE passage SET passage = %s, updated = {updated} WHERE id = %s", [text, number])


@contextmanager
def open_table(url: str, kind: str = "TIMESTAMPTZ", zone: str = "UTC") -> Iterator[Table]:
    """Create a table whose column `updated` has a type, and yield it to an application in a time zone."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("SET timezone = {}").format(sql.Literal(zone)))
        connection.execute(f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, updated {kind} DEFAULT now())")
        connection.execute("INSERT INTO passage (id, passage) SELECT n, 'text ' || n FROM generate_series(1, 5) AS n")
        yield Table(connection)


def follow(database: Database, spec: VectorColumn) -> FollowedColumn:
    """Return a followed column whose first round, a scan, has ended, and which scans no more."""
    followed = FollowedColumn(prepare(database, spec), registry().load(spec.model))
    run_round(followed)
    followed.next_scan_at = inf
    return followed


def run_round(followed: FollowedColumn) -> None:
    Follower([followed], stop=threading.Event(), max_idle=0).run()


ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Kiritimati"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kind", ["TIMESTAMPTZ", "TIMESTAMP", "TIMESTAMPTZ(0)", "TIMESTAMP(0)"])
def test_edit_is_found_in_each_zone(url: str, database: Database, calls: CallLog, kind: str, zone: str) -> None:
    with open_table(url, kind, zone) as table:
        naive = not kind.startswith("TIMESTAMPTZ")
        spec = column(updated_at="updated", **({"updated_at_timezone": zone} if naive else {}))
        followed = follow(database, spec)
        calls.clear()
        table.edit(3, "edited")
        run_round(followed)
        assert calls.inputs() == ["edited"]
        rows = followed.rows
        table.edit(4, "edited again")
        watermark = read_watermark(rows)
        assert watermark is not None
        edited, oldest = rows.count_edited(watermark.since, 9)
        assert edited == 1
        assert oldest is not None
        assert abs(oldest - watermark.seen_at) < timedelta(minutes=5)
        seconds = oldest_pending_seconds(prepared(database, spec))
        assert seconds is not None
        assert -2 < seconds < 300


def test_edits_of_an_application_whose_clock_is_late_are_found(url: str, database: Database, calls: CallLog) -> None:
    with open_table(url) as table:
        table.connection.execute("UPDATE passage SET updated = now() - interval '3 hours'")
        followed = follow(database, column(updated_at="updated"))
        calls.clear()
        table.edit(3, "edited", "now() - interval '3 hours'")
        run_round(followed)
        assert calls.inputs() == ["edited"]


@pytest.mark.parametrize("value", ["now() + interval '1 year'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "NULL"])
def test_extreme_value_does_not_hide_later_edits(url: str, database: Database, calls: CallLog, value: str) -> None:
    with open_table(url) as table:
        table.connection.execute(f"UPDATE passage SET updated = {value}")
        followed = follow(database, column(updated_at="updated"))
        calls.clear()
        table.edit(3, "edited")
        run_round(followed)
        assert calls.inputs() == ["edited"]
        assert followed.rows.count_edited(NOON - timedelta(days=365), 9)[0] == 0


def test_rows_are_not_read_again_after_updates_have_ended(url: str, database: Database, calls: CallLog) -> None:
    with open_table(url):
        followed = follow(database, column(updated_at="updated"))
        assert followed.watermark is not None
        followed.watermark = Watermark(followed.watermark.latest, followed.watermark.seen_at - OVERLAP)
        run_round(followed)
        assert followed.watermark.since > followed.watermark.latest


def test_edits_are_found_when_the_clocks_are_set_back(postgres: Server, calls: CallLog) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        open_table(url, "TIMESTAMP", "Europe/Berlin") as table,
    ):
        spec = column(updated_at="updated", updated_at_timezone="Europe/Berlin")
        table.connection.execute("UPDATE passage SET updated = '2025-01-01'")
        embed(database, spec)
        rows = prepare(database, spec)
        # At 01:00 UTC, 03:00 local time becomes 02:00. The row is written at 01:05 UTC.
        table.edit(3, "edited", "'2025-10-26 02:05'")
        for since, expected in (
            (datetime(2025, 10, 26, 0, 50, tzinfo=UTC), 1),
            (datetime(2025, 10, 25, 23, 59, tzinfo=UTC), 1),
            (datetime(2025, 10, 26, 1, 6, tzinfo=UTC), 0),
            (datetime(2025, 10, 27, 0, 0, tzinfo=UTC), 0),
        ):
            assert rows.count_edited(since, 9)[0] == expected, since


@pytest.mark.parametrize(
    ("kind", "zone", "message"),
    [
        ("TIMESTAMP", None, "is a timestamp without time zone. Set updated_at_timezone to the time zone of its values"),
        ("DATE", None, "is of type date, but must be a timestamptz. Choose another column"),
        ("BIGINT", None, "is of type bigint, but must be a timestamptz"),
        ("TEXT", None, "is of type text, but must be a timestamptz"),
        ("DATE", "UTC", "is of type date, but must be a timestamptz"),
        ("TIMESTAMPTZ", "UTC", "is a timestamptz, which needs no time zone. Remove updated_at_timezone"),
        ("TIMESTAMP", "Europe/Nowhere", "has no time zone Europe/Nowhere, which updated_at_timezone names. Write a n"),
    ],
)
def test_other_types_are_rejected_before_any_change(
    database: Database, connection: psycopg.Connection, kind: str, zone: str | None, message: str
) -> None:
    connection.execute(f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, updated {kind})")
    with pytest.raises(TableError, match=message):
        # A zone that Python knows may be unknown to the server.
        prepare(database, column(updated_at="updated").model_copy(update={"updated_at_timezone": zone}))
    found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert found == [("passage",)]
    columns = connection.execute("SELECT * FROM passage").description or []
    assert [each.name for each in columns] == ["id", "passage", "updated"]


def test_domain_over_timestamptz_is_accepted(postgres: Server, calls: CallLog) -> None:
    with postgres.new_database() as url, Database(url) as database:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DOMAIN moment AS TIMESTAMPTZ")
        with open_table(url, "moment") as table:
            followed = follow(database, column(updated_at="updated"))
            calls.clear()
            table.edit(3, "edited")
            run_round(followed)
            assert calls.inputs() == ["edited"]


@pytest.mark.parametrize("zone", ["+02:00", "UTC+2", "", "UTC; DROP TABLE passage", "Europe/", "Europe/Nowhere"])
def test_zone_that_is_not_a_name_is_rejected(zone: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"updated_at_timezone: .* is not a time zone; write one such as UTC or"
    ):
        column(updated_at="updated", updated_at_timezone=zone)


def test_zone_without_its_column_is_rejected() -> None:
    with pytest.raises(
        ConfigurationError, match="updated_at_timezone is the time zone of updated_at, which is missing"
    ):
        column(updated_at_timezone="UTC")
