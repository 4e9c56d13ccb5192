"""Which runs in Dagster give way to other sessions: partition runs and maintenance, not the follow job."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.database import server as server_module
from crdbvec_pipelines.database.session_pool import SessionPool
from crdbvec_pipelines.database.statement import Statement
from tests.orchestration.evaluations import evaluate
from tests.orchestration.project import BuildProject
from tests.support.fake_cockroachdb import QualityOfServiceDialect
from tests.support.servers import Server
from tests.support.tables import create_table

pytestmark = pytest.mark.usefixtures("calls")


def test_partition_runs_maintenance_and_checks_give_way_and_follow_does_not(
    postgres: Server, build_project: BuildProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, set[bool]] = {}
    run = SessionPool.run

    def record(self: SessionPool, work: Callable[..., Any], statement: Statement, *others: Any) -> Any:
        sent.setdefault(statement.name, set()).add(self.gives_way)
        return run(self, work, statement, *others)

    monkeypatch.setattr(SessionPool, "run", record)
    monkeypatch.setattr(server_module, "detect", lambda _: QualityOfServiceDialect())
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=["one", "two", "three"])
        project = build_project(url)
        project.run("follow")
        assert sent["read_pending"] == {False}
        sent.clear()
        connection.execute("UPDATE passage SET passage = 'four' WHERE passage = 'one'")
        project.run("maintain")
        assert sent["read_pending"] == sent["read_range_state"] == {True}
        sent.clear()
        connection.execute("UPDATE passage SET passage = 'five' WHERE passage = 'four'")
        (partition,) = project.partitions
        project.run("encode_in_process", partition_key=partition)
        assert sent["read_pending"] == sent["write_vector"] == {True}
        sent.clear()
        evaluate(project)
        assert sent["read_range_state"] == {True}
