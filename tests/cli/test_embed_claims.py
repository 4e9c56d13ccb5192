"""`crdbvec embed` next to another process that is embedding rows of the same table."""

from collections.abc import Callable
from pathlib import Path

import psycopg

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.models import CallLog, stub
from tests.support.processes import run_crdbvec, start_crdbvec
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, create_table, insert_rows, vectors
from tests.support.waiting import wait_until


def test_claimed_rows_are_waited_for(url: str, connection: psycopg.Connection, calls: CallLog, tmp_path: Path) -> None:
    create_table(connection, INT_SHAPE, ["first"])
    file = write_config(tmp_path)
    assert run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url).returncode == 0
    insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(1, 20)})
    (spec,) = load_config(file).vectors

    def has_vectors(count: int) -> Callable[[], bool]:
        return lambda: sum(vector is not None for vector in vectors(connection).values()) == count

    with Database(url) as database:
        keys = sorted(INT_SHAPE.key(number) for number in range(20))
        with RangeClaim(bind_column(database, spec, stub()), KeyRange(keys[5], keys[15])) as claim:
            claim.acquire()
            process = start_crdbvec(["embed", "--json"], tmp_path, CRDBVEC_URL=url)
            wait_until(has_vectors(10))
            assert process.poll() is None
        _, errors = process.communicate()
    assert process.returncode == 0
    assert "Waiting for another process that is embedding rows of public.passage." in errors
    assert has_vectors(20)()
    assert len(calls.inputs()) == len(set(calls.inputs())) == 20
