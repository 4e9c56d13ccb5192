"""Stress test: writers change a followed table at random; at the end every vector is that of its row's text.

The ordinary suite runs a short form. `make stress` runs each scenario for minutes (CRDBVEC_STRESS_SECONDS).
"""

import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.refresh.report import RefreshReport
from tests.support.models import CallLog, registry, stub
from tests.support.tables import column, vectors
from tests.support.work import embed, prepare
from tests.support.writers import SharedState, Writer

SECONDS = float(os.environ.get("CRDBVEC_STRESS_SECONDS", "0"))
# A new seed for each long run; always the same one for the short form.
SEED = random.randrange(1_000_000) if SECONDS else 1
# Per writer. A long run ends by time, not by the number of actions.
ACTIONS = 10_000_000 if SECONDS else 1_000
WRITERS = 2
IDS = 200

SCENARIOS = {
    "fingerprint": column(model="stub_failing", batch_size=16),
    "trigger": column(model="stub_failing", batch_size=16, staleness="trigger"),
    "updated_at": column(model="stub_failing", batch_size=16, updated_at="updated", workers=2),
}


@pytest.mark.parametrize("followers", [1, 2])
@pytest.mark.parametrize("spec", SCENARIOS.values(), ids=SCENARIOS)
def test_every_vector_matches_its_text_at_the_end(
    url: str,
    connection: psycopg.Connection,
    calls: CallLog,
    monkeypatch: pytest.MonkeyPatch,
    spec: VectorColumn,
    followers: int,
) -> None:
    print(f"seed {SEED}")
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, updated TIMESTAMPTZ, views INT8)")
    # The writers change no row with these keys, so there are rejected rows in every run.
    connection.execute(
        "INSERT INTO passage (id, passage, updated)"
        " SELECT %s + n, 'REJECTED ' || n, now() FROM generate_series(1, 3) n",
        (IDS,),
    )
    state = SharedState(IDS)
    on_postgres = not connection.pgconn.parameter_status(b"crdb_version")
    off = ("SET session_replication_role = replica", "SET session_replication_role = origin") if on_postgres else None
    stop = threading.Event()
    report = RefreshReport()
    repeated: set[str] = set()
    with Database(url) as database, ThreadPoolExecutor(WRITERS + followers) as pool:
        prepare(database, spec)
        writing = [pool.submit(Writer(number, url, SEED, state, off).run, ACTIONS, stop) for number in range(WRITERS)]
        deadline = time.monotonic() + SECONDS
        for revision in itertools.count(1):
            report += follow(database, spec, pool, followers, until=lambda: all(future.done() for future in writing))
            if SECONDS and time.monotonic() > deadline:
                stop.set()
            # The next followers have the next revision of the model, as after an upgrade of the process.
            repeated |= encoded_twice(calls)
            calls.clear()
            monkeypatch.setenv("CRDBVEC_TEST_REVISION", str(revision))
            if all(future.done() for future in writing):
                break
        for future in writing:
            future.result()
        # Correct the rejected rows, so that they are embedded with the others.
        connection.execute("UPDATE passage SET passage = 'corrected ' || id WHERE passage LIKE 'REJECTED%'")
        while embed(database, spec, batch_size=64).rows_read:
            pass
        assert prepare(database, spec).errors.count().total == 0
    check(connection)
    # Two followers may encode the same row at the same time.
    if followers == 1:
        assert (repeated | encoded_twice(calls)) - state.repeatable == set()
    # The test covers what it should: rows were embedded, changed while they were encoded, and rejected.
    assert min(report.rows_embedded, report.rows_changed, report.rows_failed) > 0
    assert all(state.actions[name] for name in ("_update", "_insert", "_replace", "_change_key", "_update_many"))


def follow(
    database: Database, spec: VectorColumn, pool: ThreadPoolExecutor, followers: int, until: Callable[[], bool]
) -> RefreshReport:
    """Follow for up to a second, then stop, as processes that are replaced by new ones."""
    stop = threading.Event()
    running = []
    for _ in range(followers):
        encoder = registry().load(spec.model)
        followed = FollowedColumn(prepare(database, spec, encoder.model_id), encoder)
        running.append(pool.submit(Follower([followed], stop=stop).run))
    end = time.monotonic() + random.uniform(0.2, 1.0)
    while time.monotonic() < end and not until():
        time.sleep(0.02)
    stop.set()
    return sum((future.result() for future in running), RefreshReport())


def encoded_twice(calls: CallLog) -> set[str]:
    """Return the texts that were encoded twice, without a known one by which the model is checked after failures."""
    counts: Counter[str] = Counter()
    for batch in calls.batches():
        if len(batch) > 1 or not counts[batch[0]]:
            counts.update(batch)
    return {text for text, count in counts.items() if count > 1}


def check(connection: psycopg.Connection) -> None:
    """Assert that every row has the vector of its text, or none if it has no text."""
    model = stub("stub_failing")
    actual = vectors(connection)
    texts: dict[int, str | None] = dict(connection.execute("SELECT id, passage FROM passage").fetchall())
    expected = {
        (key,): model.encode_query(text).tolist() if text and text.strip() else None for key, text in texts.items()
    }
    assert {key: None if vector is None else vector.tolist() for key, vector in actual.items()} == expected
    assert any(vector is not None for vector in expected.values())
