"""Dagster's own storage: PostgreSQL at DAGSTER_PG_URL, otherwise the embedded server in the working directory."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import dagster as dg
import psycopg
import pytest
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from psycopg import sql
from sqlalchemy import make_url

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.orchestration.instance.connections import keep_connections_open
from crdbvec_pipelines.orchestration.instance.storage import PostgresStorage, sqlalchemy_url, url_in_utc
from tests.support.pooler import pooler
from tests.support.servers import Server

UTC = "-c timezone=UTC"


def open_instance(home: Path) -> dg.DagsterInstance:
    home.mkdir()
    (home / "dagster.yaml").write_text(bundled("dagster.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return dg.DagsterInstance.from_config(str(home))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
@pytest.mark.parametrize(
    ("rest", "options"),
    [
        ("me@/db?host=/tmp/x", UTC),
        ("me:p%2F%23%40w@db.example:6000/dagster?sslmode=require&connect_timeout=5", UTC),
        ("me@/db?host=one:1&host=two:2", UTC),
        ("me@db.example/db?options=-c%20statement_timeout%3D5s", f"-c statement_timeout=5s {UTC}"),
        ("me@db.example/db?options=-c+search_path%3Da,b&host=/tmp/x", f"-c search_path=a,b {UTC}"),
        ("me@db.example/db?options=-c%20timezone%3DAsia/Tokyo", f"-c timezone=Asia/Tokyo {UTC}"),
        ("me@db.example/db?options=-c%20timezone%3DUTC", UTC),
    ],
)
def test_url_has_the_driver_that_dagster_postgres_needs_and_utc(scheme: str, rest: str, options: str) -> None:
    given, found = make_url(f"{scheme}://{rest}"), make_url(sqlalchemy_url(f"{scheme}://{rest}"))
    assert found.drivername == "postgresql+psycopg2"
    assert found.query["options"] == options
    without = found.set(drivername=scheme).difference_update_query(["options"])
    assert without == given.difference_update_query(["options"])
    # A process gets its URL from another one that has added this already.
    assert sqlalchemy_url(sqlalchemy_url(f"{scheme}://{rest}")) == sqlalchemy_url(f"{scheme}://{rest}")


def test_options_of_the_environment_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=7s")
    assert make_url(sqlalchemy_url("postgresql://me@/db")).query["options"] == f"-c lock_timeout=7s {UTC}"
    assert make_url(sqlalchemy_url("postgresql://me@/db?options=-c%20a%3Db")).query["options"] == f"-c a=b {UTC}"


@pytest.fixture
def tokyo(postgres: Server) -> Iterator[str]:
    """The URL of a database whose sessions have another time zone than UTC."""
    with postgres.new_database() as url:
        set_zone(url, "Asia/Tokyo")
        yield url


def set_zone(url: str, zone: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET timezone TO {}").format(name, sql.Literal(zone)))


def session_zones(instance: dg.DagsterInstance) -> set[str | None]:
    """Return the time zones of the sessions of the three storages, before and after they keep connections open."""
    zones: set[str | None] = set()
    for _ in range(2):
        for storage in (instance.run_storage, instance.schedule_storage):
            assert isinstance(storage, (PostgresRunStorage, PostgresScheduleStorage))
            with storage.connect() as connection:
                zones.add(connection.exec_driver_sql("SHOW timezone").scalar())
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        with instance.event_log_storage.index_connection() as connection:
            zones.add(connection.exec_driver_sql("SHOW timezone").scalar())
        keep_connections_open(instance)
    return zones


def test_sessions_are_in_utc_whatever_the_zone_of_the_server(
    tokyo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", tokyo)
    with open_instance(tmp_path / "home") as instance:
        assert session_zones(instance) == {"UTC"}


@pytest.mark.parametrize("on_options", ["reject", "ignore"])
def test_pooler_that_does_not_pass_options_is_used_with_a_warning_until_the_server_is_in_utc(
    tokyo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    on_options: Literal["reject", "ignore"],
) -> None:
    with pooler(tokyo, on_options) as url:
        monkeypatch.setenv("DAGSTER_PG_URL", url)
        with open_instance(tmp_path / "home") as instance:
            instance.add_dynamic_partitions("p", ["a"])
        assert [record.getMessage() for record in caplog.records] == [
            "The time zone of sessions at DAGSTER_PG_URL is Asia/Tokyo, so times in Dagster are wrong. A connection "
            "pooler rejects or ignores the option that sets it: run ALTER ROLE ... SET timezone = 'UTC' on the server "
            "for the role of the URL."
        ]
        caplog.clear()
        set_zone(tokyo, "Etc/UTC")
        monkeypatch.setenv("DAGSTER_PG_URL", url)
        with open_instance(tmp_path / "second home") as instance:
            assert session_zones(instance) == {"Etc/UTC"}
            assert list(instance.get_dynamic_partitions("p")) == ["a"]
        assert caplog.records == []


def test_unavailable_server_is_left_to_dagster(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"postgresql://me@127.0.0.1:{port}/db"
    assert url_in_utc(url) == sqlalchemy_url(url)
    assert caplog.records == []


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


@dg.op
def logging_op(context: dg.OpExecutionContext) -> None:
    context.log.info("words")


@dg.job
def logging_job() -> None:
    logging_op()


def test_console_shows_messages_but_not_the_events_of_dagster(
    tokyo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", tokyo)
    with open_instance(tmp_path / "home") as instance:
        result = logging_job.execute_in_process(instance=instance)
        stored = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
    printed = capfd.readouterr().err
    assert (printed.count("words"), printed.count("DEBUG"), len(stored)) == (1, 0, 1)


def state(url: str) -> tuple[set[str], set[str], list[tuple[str]]]:
    """Return the tables, the indexes and the completed migrations of a storage."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        indexes = connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'").fetchall()
        migrations = connection.execute("SELECT name FROM secondary_indexes ORDER BY name").fetchall()
        connection.execute("SELECT version_num FROM alembic_version")
    return {name for (name,) in tables}, {name for (name,) in indexes}, migrations


@pytest.mark.parametrize(
    "interrupted",
    [
        "DROP TABLE asset_check_executions, concurrency_slots; DELETE FROM alembic_version",
        "DROP TABLE asset_check_executions, secondary_indexes, jobs",
        "DELETE FROM alembic_version; DELETE FROM secondary_indexes",
        "DROP INDEX idx_runs_by_job; DELETE FROM alembic_version",
    ],
)
def test_storage_whose_creation_was_interrupted_is_completed(postgres: Server, interrupted: str) -> None:
    with postgres.new_database() as url:
        PostgresStorage(sqlalchemy_url(url))
        complete = state(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(interrupted.encode())
        PostgresStorage(sqlalchemy_url(url))
        assert state(url) == complete


def test_storage_has_the_tables_of_dagster_and_is_created_by_several_processes_at_once(postgres: Server) -> None:
    with postgres.new_database() as own, postgres.new_database() as other:
        with ThreadPoolExecutor(4) as threads:
            for storage in [threads.submit(PostgresStorage, sqlalchemy_url(own)) for _ in range(4)]:
                storage.result()
        DagsterPostgresStorage(sqlalchemy_url(other))
        assert state(own) == state(other)


def test_storage_of_an_older_revision_is_left_to_its_migration(postgres: Server) -> None:
    with postgres.new_database() as url:
        PostgresStorage(sqlalchemy_url(url))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'older'")
            connection.execute("DROP TABLE asset_check_executions")
        PostgresStorage(sqlalchemy_url(url))
        assert "asset_check_executions" not in state(url)[0]
