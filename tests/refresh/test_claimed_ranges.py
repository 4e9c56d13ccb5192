"""Two refreshes of the same rows: each row is encoded once, whichever process it is in."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import claims
from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import complete_range
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import RefreshOptions
from tests.support.models import CallLog, stub
from tests.support.tables import INT_SHAPE, column, create_table, vectors
from tests.support.work import prepared

ROWS = 60


@pytest.fixture
def bound(database: Database, connection: psycopg.Connection) -> BoundColumn:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(ROWS)])
    return prepared(database, column())


def test_rows_claimed_by_another_process_are_left_to_it(
    bound: BoundColumn, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_MAX_AGE_SECONDS", 0.0)
    keys = sorted(INT_SHAPE.key(number) for number in range(ROWS))
    with RangeClaim(bound, KeyRange(keys[10], keys[30])) as other:
        other.acquire()
        report = refresh(VectorRows(bound), stub(), KeyRange(), RefreshOptions(batch_size=7))
        assert (report.rows_embedded, report.ranges_skipped) == (ROWS - 20, 1)
        done = complete_range(VectorRows(bound), stub(), KeyRange(), RefreshOptions(batch_size=7))
        assert (done.is_claimed, done.is_done, done.state.pending) == (True, False, 20)
    done = complete_range(VectorRows(bound), stub(), KeyRange(), RefreshOptions(batch_size=7))
    assert (done.is_claimed, done.is_done) == (False, True)
    assert len(calls.inputs()) == ROWS


def test_a_refresh_without_pending_rows_claims_nothing(bound: BoundColumn, connection: psycopg.Connection) -> None:
    connection.execute("DELETE FROM passage")
    connection.execute("ALTER TABLE crdbvec_claims ADD CHECK (owner = 'no one')")
    assert refresh(VectorRows(bound), stub(), KeyRange(), RefreshOptions(batch_size=7)).batches == 0


def test_concurrent_refreshes_encode_each_row_once(
    url: str, bound: BoundColumn, connection: psycopg.Connection, calls: CallLog
) -> None:
    start = threading.Barrier(3)

    def work(_: int) -> int:
        with Database(url) as database:
            rows = VectorRows(prepared(database, column()))
            start.wait()
            return refresh(rows, stub(), KeyRange(), RefreshOptions(batch_size=5)).rows_embedded

    with ThreadPoolExecutor(3) as pool:
        embedded = list(pool.map(work, range(3)))
    assert sum(embedded) == ROWS
    assert all(vector is not None for vector in vectors(connection).values())
    # Before its first look at the claims of others, a refresh may have read ahead a few batches.
    repeated = sum(count - 1 for count in Counter(calls.inputs()).values())
    assert repeated <= 5 * 5
