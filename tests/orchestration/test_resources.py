"""The database as a resource: its URL read when a run starts and shown to nobody, its connections closed after it."""

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import DatabaseSpec, EnvironmentVariable
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.resources import CockroachResource, build_resource
from tests.orchestration.stored import configuration
from tests.support.servers import Server
from tests.support.statements import probe
from tests.support.waiting import wait_until


@dg.op
def who_asks(cockroach: CockroachResource) -> str:
    return str(cockroach.database.fetch_one(probe("SELECT current_database()"))[0])


@dg.job
def asking() -> None:
    who_asks()


def ask(resource: CockroachResource) -> str:
    return str(asking.execute_in_process(resources={"cockroach": resource}).output_for_node("who_asks"))


def test_a_url_in_the_environment_is_read_when_the_run_starts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = build_resource(DatabaseSpec(url=EnvironmentVariable(env="SOME_URL")))
    monkeypatch.setenv("SOME_URL", url)
    with psycopg.connect(url) as connection:
        assert ask(resource) == connection.info.dbname


def test_a_url_in_the_file_is_taken_as_it_is(url: str) -> None:
    with psycopg.connect(url) as connection:
        assert ask(build_resource(DatabaseSpec(url=url))) == connection.info.dbname


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(dg.DagsterError, match="SOME_URL"):
        ask(build_resource(DatabaseSpec(url=EnvironmentVariable(env="SOME_URL"))))


def test_nothing_stays_open_after_a_run(postgres: Server) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as admin:
        ask(build_resource(DatabaseSpec(url=url)))

        def sessions() -> int:
            found = admin.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'crdbvec'"
            ).fetchone()
            assert found is not None
            return int(found[0])

        wait_until(lambda: sessions() == 0)


def test_the_ui_masks_the_url() -> None:
    fields = CockroachResource.to_config_schema().as_field().config_type.fields  # type: ignore[attr-defined]
    assert {name: field.is_secret for name, field in fields.items()}["url"] is True


def test_definitions_hold_the_variables_name_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_URL", "postgresql://me:geheim@host/db")
    definitions = build_definitions(configuration("", database={"url": {"env": "SOME_URL"}}))
    for resource in (definitions.resources or {}).values():
        assert isinstance(resource, CockroachResource)
        assert "geheim" not in repr(resource)
        assert "geheim" not in str(resource._resolved_config_dict)
