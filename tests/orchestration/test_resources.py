"""The database as a resource: its URL is read when a run starts and never shown; its connections close after it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from crdbvec_pipelines.config import DatabaseSpec, EnvironmentVariable
from crdbvec_pipelines.database import retry
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseUnavailable
from crdbvec_pipelines.orchestration import resources
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.resources import CockroachResource, build_resource, for_ticks
from tests.orchestration.project import configuration
from tests.support.servers import Server
from tests.support.statements import probe
from tests.support.waiting import wait_until


@dg.op
def read_database_name(cockroach: CockroachResource) -> str:
    return str(cockroach.database.fetch_one(probe("SELECT current_database()"))[0])


@dg.job
def read_database_name_job() -> None:
    read_database_name()


def database_name(resource: CockroachResource) -> str:
    """Return the name of the database to which a run with this resource is connected."""
    result = read_database_name_job.execute_in_process(resources={"cockroach": resource})
    return str(result.output_for_node("read_database_name"))


def test_url_in_the_environment_is_read_when_the_run_starts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = build_resource(DatabaseSpec(url=EnvironmentVariable(env="SOME_URL")))
    monkeypatch.setenv("SOME_URL", url)
    with psycopg.connect(url) as connection:
        assert database_name(resource) == connection.info.dbname


def test_url_in_the_file_is_used_unchanged(url: str) -> None:
    with psycopg.connect(url) as connection:
        assert database_name(build_resource(DatabaseSpec(url=url))) == connection.info.dbname


def test_error_names_the_variable_that_is_not_set() -> None:
    with pytest.raises(dg.DagsterError, match="SOME_URL"):
        database_name(build_resource(DatabaseSpec(url=EnvironmentVariable(env="SOME_URL"))))


@pytest.fixture
def absent_server(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that can be reached after the first attempt, and the errors of the attempts."""
    monkeypatch.setattr(retry, "MAX_OPENING_WAIT_SECONDS", 0.01)
    errors: list[str] = []
    with postgres.new_database() as url:
        given = conninfo_to_dict(url)
        folder = tmp_path / "socket"

        def open_database(*arguments: Any, **options: Any) -> Database:
            try:
                return Database(*arguments, **options)
            except DatabaseUnavailable as error:
                errors.append(str(error))
                folder.symlink_to(str(given["host"]))
                raise

        monkeypatch.setattr(resources, "Database", open_database)
        yield make_conninfo(url, host=str(folder)), errors


def test_run_waits_for_a_database_that_cannot_be_reached(absent_server: tuple[str, list[str]]) -> None:
    url, errors = absent_server
    assert database_name(build_resource(DatabaseSpec(url=url))) == conninfo_to_dict(url)["dbname"]
    assert len(errors) == 1


def test_tick_does_not_wait_for_a_database_that_cannot_be_reached(absent_server: tuple[str, list[str]]) -> None:
    url, errors = absent_server
    with pytest.raises(dg.DagsterError):
        database_name(for_ticks(build_resource(DatabaseSpec(url=url))))
    assert len(errors) == 1


def test_all_connections_are_closed_after_a_run(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin:
        database_name(build_resource(DatabaseSpec(url=url)))

        def sessions() -> int:
            found = admin.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'crdbvec'"
            ).fetchone()
            assert found is not None
            return int(found[0])

        wait_until(lambda: sessions() == 0)


def test_url_is_masked_in_the_ui() -> None:
    fields = CockroachResource.to_config_schema().as_field().config_type.fields  # type: ignore[attr-defined]
    assert {name: field.is_secret for name, field in fields.items()}["url"] is True


def test_definitions_contain_the_name_of_the_variable_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_URL", "postgresql://me:hidden-password@host/db")
    definitions = build_definitions(configuration({"env": "SOME_URL"}))
    for resource in (definitions.resources or {}).values():
        assert isinstance(resource, CockroachResource)
        assert "hidden-password" not in repr(resource)
        assert "hidden-password" not in str(resource._resolved_config_dict)
