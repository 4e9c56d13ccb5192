"""Claims on key ranges: the older of two overlapping claims wins, and a claim ends with its process."""

import os
import subprocess
import sys
import time
from datetime import timedelta

import psycopg
import pytest

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import claims as module
from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, SHAPES, KeyShape, column, create_table
from tests.support.waiting import wait_until
from tests.support.work import prepared


@pytest.fixture(autouse=True)
def _read_claims_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_AGE_SECONDS", 0.0)


@pytest.fixture
def bound(database: Database, connection: psycopg.Connection) -> BoundColumn:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(10)])
    return prepared(database, column())


def owners(connection: psycopg.Connection) -> list[str]:
    return [owner for (owner,) in connection.execute("SELECT owner FROM crdbvec_claims").fetchall()]


def test_the_older_of_two_overlapping_claims_wins(bound: BoundColumn) -> None:
    with RangeClaim(bound, KeyRange()) as first, RangeClaim(bound, KeyRange((3,), (9,))) as second:
        first.acquire()
        second.acquire()
        assert list(first.claimed_by_others()) == []
        assert list(second.claimed_by_others()) == [KeyRange()]


def test_a_claim_ends_with_its_block(bound: BoundColumn, connection: psycopg.Connection) -> None:
    with RangeClaim(bound, KeyRange()) as claim:
        assert owners(connection) == []
        claim.acquire()
        claim.acquire()
        assert len(owners(connection)) == 1
    assert owners(connection) == []


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_only_overlapping_ranges_are_returned(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(30)])
    bound = prepared(database, column())
    keys = sorted(shape.key(number) for number in range(30)) if shape is not COMPOSITE_SHAPE else None
    low, middle, high = (keys[5], keys[15], keys[25]) if keys else (("a", 0, 0), ("m", 0, 0), ("z", 0, 0))
    with (
        RangeClaim(bound, KeyRange(None, middle)) as left,
        RangeClaim(bound, KeyRange(middle, None)) as right,
        RangeClaim(bound, KeyRange(low, high)) as both,
    ):
        left.acquire()
        right.acquire()
        both.acquire()
        assert list(right.claimed_by_others()) == []
        found = both.claimed_by_others()
    assert [(part.lower is None, part.upper is None) for part in found] == [(True, False), (False, True)]


def test_claims_of_another_column_are_ignored(database: Database, bound: BoundColumn) -> None:
    other = prepared(database, column(output="other_vector"))
    with RangeClaim(other, KeyRange()) as first, RangeClaim(bound, KeyRange()) as second:
        first.acquire()
        second.acquire()
        assert list(second.claimed_by_others()) == []


def test_an_expired_claim_is_ignored(bound: BoundColumn, connection: psycopg.Connection) -> None:
    with RangeClaim(bound, KeyRange()) as first, RangeClaim(bound, KeyRange()) as second:
        first.acquire()
        second.acquire()
        connection.execute(
            "UPDATE crdbvec_claims SET expires_at = now() - interval '1 second' WHERE claimed_at = "
            "(SELECT min(claimed_at) FROM crdbvec_claims)"
        )
        assert list(second.claimed_by_others()) == []


def test_a_held_claim_is_extended(bound: BoundColumn, connection: psycopg.Connection) -> None:
    with RangeClaim(bound, KeyRange(), lifetime_seconds=0.9) as claim:
        claim.acquire()
        first = connection.execute("SELECT expires_at FROM crdbvec_claims").fetchone()
        assert first is not None

        def is_extended() -> bool:
            row = connection.execute("SELECT expires_at FROM crdbvec_claims").fetchone()
            assert row is not None
            return bool(row[0] > first[0] + timedelta(seconds=0.1))

        wait_until(is_extended)


def test_a_claim_of_a_killed_process_of_this_host_ends_at_once(
    url: str, bound: BoundColumn, connection: psycopg.Connection
) -> None:
    code = (
        "import sys, time\n"
        "from crdbvec_pipelines.database.connection import Database\n"
        "from crdbvec_pipelines.database.rows.claims import RangeClaim\n"
        "from crdbvec_pipelines.keyspace import KeyRange\n"
        "from tests.support.tables import column\n"
        "from tests.support.work import prepared\n"
        "claim = RangeClaim(prepared(Database(sys.argv[1]), column()), KeyRange())\n"
        "claim.acquire()\n"
        "print('claimed', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        with RangeClaim(bound, KeyRange()) as claim:
            claim.acquire()
            assert list(claim.claimed_by_others()) == [KeyRange()]
            process.kill()
            process.wait()
            started = time.monotonic()
            assert list(claim.claimed_by_others()) == []
            assert time.monotonic() - started < module.LIFETIME_SECONDS / 2
            assert len(owners(connection)) == 1
