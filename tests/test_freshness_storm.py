"""Everything at once and at random: whatever writers do to a table that is followed, in the end vectors match texts.

In the ordinary suite this is a short gust. `make storm` lets each one blow for minutes (CRDBVEC_STORM_SECONDS).
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
from crdbvec_pipelines.follower import Followed, Follower
from crdbvec_pipelines.refresh import RefreshReport
from tests.support.models import CallLog, registry, stub
from tests.support.storm import Weather, Writer
from tests.support.tables import column, vectors
from tests.support.work import embed, prepare

SECONDS = float(os.environ.get("CRDBVEC_STORM_SECONDS", "0"))
# Of its own each time where there is time; the same one in the ordinary suite.
SEED = random.randrange(1_000_000) if SECONDS else 1
DEEDS = 10_000_000 if SECONDS else 1_000
WRITERS = 2
IDS = 200

STALENESS = {
    "fingerprint": column(model="stub_moody", batch_size=16),
    "trigger": column(model="stub_moody", batch_size=16, staleness="trigger"),
    "updated_at": column(model="stub_moody", batch_size=16, updated_at="updated", workers=2),
}


@pytest.mark.parametrize("followers", [1, 2])
@pytest.mark.parametrize("spec", STALENESS.values(), ids=STALENESS)
def test_every_vector_is_that_of_its_text_in_the_end(
    url: str,
    connection: psycopg.Connection,
    calls: CallLog,
    monkeypatch: pytest.MonkeyPatch,
    spec: VectorColumn,
    followers: int,
) -> None:
    print(f"seed {SEED}")
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, updated TIMESTAMPTZ, views INT8)")
    weather = Weather(IDS)
    on_postgres = not connection.pgconn.parameter_status(b"crdb_version")
    off = ("SET session_replication_role = replica", "SET session_replication_role = origin") if on_postgres else None
    stop = threading.Event()
    report = RefreshReport()
    repeated: set[str] = set()
    with Database(url) as database, ThreadPoolExecutor(WRITERS + followers) as pool:
        prepare(database, spec)
        writing = [pool.submit(Writer(number, url, SEED, weather, off).run, DEEDS, stop) for number in range(WRITERS)]
        deadline = time.monotonic() + SECONDS
        for revision in itertools.count(1):
            report += follow(database, spec, pool, followers, until=lambda: all(future.done() for future in writing))
            if SECONDS and time.monotonic() > deadline:
                stop.set()
            # Between two processes, the model is replaced by its next revision.
            repeated |= seen_twice(calls)
            calls.clear()
            monkeypatch.setenv("CRDBVEC_TEST_REVISION", str(revision))
            if all(future.done() for future in writing):
                break
        for future in writing:
            future.result()
        # Repaired, the bad rows are embedded with the others.
        connection.execute("UPDATE passage SET passage = 'mended ' || id WHERE passage LIKE 'POISON%'")
        while embed(database, spec, batch_size=64).rows_read:
            pass
        assert prepare(database, spec).errors.count().total == 0
    check(connection)
    # Only one process at a time can know that nothing is encoded twice.
    if followers == 1:
        assert (repeated | seen_twice(calls)) - weather.repeatable == set()
    # It was a storm: rows were embedded, changed under the model's hands, and refused.
    assert min(report.rows_embedded, report.rows_changed, report.rows_failed) > 0
    assert all(weather.done[deed] for deed in ("_edit", "_insert", "_replace", "_move", "_rewrite_many"))


def follow(
    database: Database, spec: VectorColumn, pool: ThreadPoolExecutor, followers: int, until: Callable[[], bool]
) -> RefreshReport:
    """Follows for a while, then stops after the batch in hand, as processes that are replaced by the next ones."""
    stop = threading.Event()
    running = []
    for _ in range(followers):
        encoder = registry().load(spec.model)
        followed = Followed(prepare(database, spec, encoder.model_id), encoder)
        running.append(pool.submit(Follower([followed], stop=stop).run))
    lasting = time.monotonic() + random.uniform(0.2, 1.0)
    while time.monotonic() < lasting and not until():
        time.sleep(0.02)
    stop.set()
    return sum((future.result() for future in running), RefreshReport())


def seen_twice(calls: CallLog) -> set[str]:
    return {text for text, count in Counter(calls.inputs()).items() if count > 1}


def check(connection: psycopg.Connection) -> None:
    model = stub("stub_moody")
    found = vectors(connection)
    texts: dict[int, str | None] = dict(connection.execute("SELECT id, passage FROM passage").fetchall())
    expected = {
        (key,): model.encode_query(text).tolist() if text and text.strip() else None for key, text in texts.items()
    }
    assert {key: None if vector is None else vector.tolist() for key, vector in found.items()} == expected
    assert any(vector is not None for vector in expected.values())
