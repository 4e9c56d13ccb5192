"""Dagster's own storage: PostgreSQL at DAGSTER_PG_URL, otherwise the embedded server in the working directory."""

import os
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.orchestration.instance.storage import sqlalchemy_url
from tests.support.servers import Server


def open_instance(home: Path) -> dg.DagsterInstance:
    home.mkdir()
    (home / "dagster.yaml").write_text(bundled("dagster.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return dg.DagsterInstance.from_config(str(home))


@pytest.mark.parametrize(
    "url",
    ["postgresql://me@/db?host=/tmp/x", "postgres://me@/db?host=/tmp/x", "postgresql+psycopg2://me@/db?host=/tmp/x"],
)
def test_url_names_the_driver_that_dagster_postgres_needs(url: str) -> None:
    assert sqlalchemy_url(url) == "postgresql+psycopg2://me@/db?host=/tmp/x"


def test_bundled_dagster_yaml_stores_in_the_database_that_the_variable_names(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with postgres.new_database() as url:
        monkeypatch.setenv("DAGSTER_PG_URL", url)
        with open_instance(tmp_path / "home") as instance:
            assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
            instance.add_dynamic_partitions("p", ["a", "b"])
            reference = instance.get_ref()
        # The reference is passed to other processes and may be logged, so it must not contain the URL.
        assert url not in str(reference)
        with dg.DagsterInstance.from_ref(reference) as reopened:
            assert list(reopened.get_dynamic_partitions("p")) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_embedded_server_in_the_working_directory_is_used_without_the_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    # The storage sets the variable; after the test, monkeypatch restores what it was before this line.
    monkeypatch.setenv("DAGSTER_PG_URL", "")
    with open_instance(folder / "home") as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        instance.add_dynamic_partitions("p", ["a"])
        assert list(instance.get_dynamic_partitions("p")) == ["a"]
    server = EmbeddedServer(folder / ".crdbvec" / "postgres")
    assert os.environ["DAGSTER_PG_URL"] == sqlalchemy_url(server.url("dagster"))
    server.stop()
