"""Which statements of a command run in a session that gives way to others, and which read the recent past.

Both are features of CockroachDB. A fake dialect gives PostgreSQL the setting, and the clause is a comment.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database import server as server_module
from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors
from crdbvec_pipelines.database.session_pool import SessionPool
from crdbvec_pipelines.database.statement import Statement
from tests.cli.conftest import Invoke
from tests.support.fake_cockroachdb import QualityOfServiceDialect
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table

Sent = dict[str, set[tuple[bool, bool]]]
BACKGROUND, PAST, BACKGROUND_PAST, REGULAR = (True, False), (False, True), (True, True), (False, False)


@pytest.fixture
def sent(project: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """By the name of a statement: whether it was sent by a session that gives way, and whether it reads the past."""
    found: Sent = {}
    run = SessionPool.run

    def record(self: SessionPool, work: Callable[..., Any], statement: Statement, *others: Any) -> Any:
        found.setdefault(statement.name, set()).add((self.gives_way, statement.present is not None))
        return run(self, work, statement, *others)

    monkeypatch.setattr(SessionPool, "run", record)
    monkeypatch.setattr(server_module, "detect", lambda _: QualityOfServiceDialect())
    monkeypatch.setattr(PostgresVectors, "follower_read_clause", sql.SQL(" /* the past */"))
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=["one", "two", "three"])
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project, {"model": "stub_hash", "index": {}})
        yield found


def test_backfills_and_estimates_give_way_and_read_the_past(sent: Sent, invoke: Invoke) -> None:
    assert invoke("plan").exit_code == 0
    assert sent["count_reasons"] == sent["sample_pending"] == {BACKGROUND_PAST}
    assert invoke("embed").exit_code == 0
    assert sent["read_pending"] == {BACKGROUND_PAST}
    assert sent["write_vector"] == {BACKGROUND}
    assert sent["count_rows"] == {BACKGROUND}
    sent.clear()
    status = invoke("status")
    assert sent["count_rows"] == {BACKGROUND_PAST}
    assert "The numbers are those of a few seconds ago (follower read)." in status.stderr
    sent.clear()
    assert invoke("index", "build").exit_code == 0
    assert sent["create_vector_index"] == sent["count_rows"] == {BACKGROUND}


def test_searches_and_follow_do_not_give_way_and_read_the_present(sent: Sent, invoke: Invoke) -> None:
    assert invoke("embed", "-F", "--max-idle", "0").exit_code == 0
    assert sent["read_pending"] == sent["write_vector"] == {REGULAR}
    assert invoke("search", "one", "-l", "1").exit_code == 0
    assert sent["nearest_exact"] == {REGULAR}


def test_the_quality_of_service_is_that_of_the_configuration(sent: Sent, project: Path, invoke: Invoke) -> None:
    write_config(project, {"model": "stub_hash", "quality_of_service": "regular"})
    assert invoke("embed").exit_code == 0
    assert sent["read_pending"] == {PAST}
    assert sent["write_vector"] == {REGULAR}
