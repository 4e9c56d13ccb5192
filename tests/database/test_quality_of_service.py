"""Quality of service: which sessions give way to others, and time-outs as a sign of a busy server.

PostgreSQL has no such setting, so a fake dialect keeps it in a setting that PostgreSQL accepts.
"""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.database import retry
from crdbvec_pipelines.database import server as server_module
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect, PostgresDialect
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.database.rows import guarded_writes
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.fake_cockroachdb import QualityOfServiceDialect
from tests.support.models import STUB_DIM
from tests.support.servers import Server
from tests.support.statements import probe
from tests.support.tables import column, create_table, vectors
from tests.support.work import embed, prepare

ROWS = 40
SETTING = "fake.default_transaction_quality_of_service"
# As on a busy server: a transaction that has updated more rows than the table `allowed` says runs into the time-out.
SLOW_GROUPS = """
CREATE TABLE allowed (rows INT);
INSERT INTO allowed VALUES (7);
CREATE FUNCTION wait_after_many_rows() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
  before INT := coalesce(nullif(current_setting('fake.rows', true), ''), '0')::int;
BEGIN
  PERFORM set_config('fake.rows', (before + 1)::text, true);
  IF before >= (SELECT rows FROM public.allowed) THEN
    PERFORM pg_sleep(60);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER wait_after_many_rows BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION wait_after_many_rows();
"""


@pytest.fixture
def busy(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database whose server has the setting, and cancels statements after 0.3 s."""
    monkeypatch.setattr(server_module, "detect", lambda _: QualityOfServiceDialect())
    monkeypatch.setattr(guarded_writes, "_FIRST_BUSY_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(retry, "MAX_BUSY_WAIT_SECONDS", 0.01)
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as administrator:
        create_table(administrator, texts=[f"text {number}" for number in range(ROWS)])
        yield url


def shown(database: Database) -> object:
    return database.fetch_one(probe(f"SELECT coalesce(current_setting('{SETTING}', true), '')"))[0]


def test_only_a_session_that_gives_way_has_the_setting(busy: str) -> None:
    with Database(busy) as database:
        background = database.with_quality_of_service("background")
        assert (shown(database), shown(background)) == ("", "background")
        assert (database.gives_way, background.gives_way) == (False, True)
        assert background.with_quality_of_service("background") is background
        assert database.with_quality_of_service("background") is background
        assert database.with_quality_of_service("regular") is database
    with pytest.raises(DatabaseError):
        background.fetch(probe("SELECT 1"))


def test_on_postgresql_it_does_nothing(postgres: Server) -> None:
    with postgres.new_database() as url, Database(url) as database:
        assert database.with_quality_of_service("background") is database
        assert not database.gives_way
    assert PostgresDialect().quality_of_service_settings("background") == {}
    assert CockroachDialect().quality_of_service_settings("background") == {
        "default_transaction_quality_of_service": "background"
    }
    assert CockroachDialect().quality_of_service_settings("regular") == {}


def write(rows: VectorRows) -> int:
    pending = rows.read(KeyRange(), Pass("unembedded"), None, ROWS)
    return rows.write(pending, np.ones((len(pending), STUB_DIM), np.float32)).rows


def test_group_that_times_out_is_written_in_smaller_groups(busy: str) -> None:
    with (
        psycopg.connect(busy, autocommit=True) as administrator,
        Database(busy, statement_timeout=0.3) as database,
    ):
        background = database.with_quality_of_service("background")
        rows = prepare(background, column(model="stub_hash"))
        administrator.execute(SLOW_GROUPS)
        assert write(rows) == ROWS
        assert all(vector is not None for vector in vectors(administrator).values())
        assert rows.errors.count().total == 0


def test_rows_are_not_recorded_as_failed_if_every_group_times_out(busy: str) -> None:
    with (
        psycopg.connect(busy, autocommit=True) as administrator,
        Database(busy, statement_timeout=0.3) as database,
    ):
        background = database.with_quality_of_service("background")
        rows = prepare(background, column(model="stub_hash"))
        administrator.execute(SLOW_GROUPS)
        administrator.execute("UPDATE allowed SET rows = 0")
        with pytest.raises(DatabaseUnavailable, match=r"^The server is busy: it canceled a statement"):
            embed(background, column(model="stub_hash"))
        assert rows.errors.count().total == 0


def test_read_that_times_out_is_tried_again(busy: str) -> None:
    with (
        psycopg.connect(busy, autocommit=True) as administrator,
        Database(busy, statement_timeout=0.3) as database,
    ):
        administrator.execute("CREATE SEQUENCE calls")
        query = probe("SELECT CASE WHEN nextval('public.calls') < 3 THEN pg_sleep(60)::text ELSE 'done' END")
        background = database.with_quality_of_service("background")
        assert background.fetch(query) == [("done",)]
        assert background.retries == 2
        administrator.execute("ALTER SEQUENCE calls RESTART")
        with pytest.raises(DatabaseError) as caught:
            database.fetch(query)
    assert caught.value.sqlstate == "57014"
