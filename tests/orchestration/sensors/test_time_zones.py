"""The sensor on a Dagster whose storage is on a server in another time zone."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.orchestration.instance.run_times import end_of
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE
from tests.orchestration.conftest import STORAGE
from tests.orchestration.project import Project, configuration
from tests.orchestration.runs import make_run
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, create_table

pytestmark = pytest.mark.usefixtures("calls")

ZONES = ("UTC", "Asia/Tokyo", "America/New_York", "Asia/Kathmandu")


@pytest.fixture(scope="module", params=ZONES)
def zoned_instance(request: pytest.FixtureRequest, postgres: Server) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance whose storage has a time zone."""
    with postgres.new_database() as url, pytest.MonkeyPatch.context() as patch:
        with psycopg.connect(url, autocommit=True) as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET timezone TO {}").format(name, sql.Literal(request.param)))
        patch.setenv(URL_VARIABLE, url)
        with dg.instance_for_test(overrides=STORAGE) as instance:
            yield instance


@pytest.fixture
def project(url: str, connection: psycopg.Connection, zoned_instance: dg.DagsterInstance) -> Iterator[Project]:
    """A prepared table with pending rows, whose only row fails."""
    create_table(connection, INT_SHAPE, ["UNAVAILABLE"])
    project = Project(configuration(url, {"model": "stub_failing"}), zoned_instance)
    project.prepare()
    yield project
    zoned_instance.wipe()


def next_attempt(project: Project) -> str:
    """Return the time in the reason for which a tick does nothing."""
    (time,) = re.findall(r"the next attempt is at (\d\d:\d\d:\d\d) UTC", str(project.tick().skipped))
    return str(time)


def test_backoff_ends_one_interval_after_a_failed_run(project: Project) -> None:
    with pytest.raises(dg.Failure):
        project.run("follow")
    (record,) = project.instance.get_run_records()
    assert record.end_time is not None
    until = datetime.fromtimestamp(record.end_time, UTC) + timedelta(seconds=60)
    assert next_attempt(project) == f"{until:%H:%M:%S}"
    # All times of the run are those of one moment, in UTC.
    assert abs(record.update_timestamp - end_of(record)) < timedelta(minutes=5)
    assert abs(record.create_timestamp - end_of(record)) < timedelta(minutes=5)


def test_sensor_resumes_after_the_backoff(project: Project) -> None:
    make_run(project, "follow", dg.DagsterRunStatus.FAILURE, age=timedelta(seconds=30))
    assert "the last run failed" in str(project.tick().skipped)
    make_run(project, "follow", dg.DagsterRunStatus.SUCCESS)
    make_run(project, "follow", dg.DagsterRunStatus.FAILURE, age=timedelta(seconds=70))
    assert project.tick().jobs == ["passage_vector__follow"]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_run_is_in_progress_until_it_is_taken_for_dead(project: Project, status: dg.DagsterRunStatus) -> None:
    run_id = make_run(project, "follow", status, age=timedelta(minutes=50))
    assert f"run {run_id[:8]} is in progress" in str(project.tick().skipped)
    project.instance.delete_run(run_id)
    make_run(project, "follow", status, age=timedelta(minutes=70))
    assert project.tick().jobs == ["passage_vector__follow"]
