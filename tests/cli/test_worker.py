"""`crdbvec worker --check`: what a worker needs before it takes runs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import redis

from crdbvec_pipelines.orchestration.celery.versions import own_versions
from tests.chaos.deployment import free_port
from tests.cli.conftest import Invoke
from tests.support.processes import ROOT
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table
from tests.workers.redis_server import NEEDS_REDIS, SERVER, RedisServer

needs_redis = pytest.mark.skipif(SERVER is None, reason=NEEDS_REDIS)


def check(invoke: Invoke, exit_code: int) -> list[dict[str, Any]]:
    """Run the checks, and return the findings."""
    result = invoke("worker", "--check", "--json")
    assert result.exit_code == exit_code, result.output
    printed = json.loads(result.stdout)
    assert printed["works"] == (exit_code == 0)
    found = printed["findings"]
    assert isinstance(found, list)
    return found


def errors(found: list[dict[str, Any]]) -> list[str]:
    return [f"{finding['check']}: {finding['message']}" for finding in found if finding["level"] == "error"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A $DAGSTER_HOME with the shipped instance, and a configuration whose database does not exist."""
    shutil.copy(ROOT / "deploy" / "celery" / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("CRDBVEC_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CRDBVEC_CONFIG", str(write_config(tmp_path, {"model": "stub_hash"})))
    monkeypatch.setenv("CRDBVEC_URL", "postgresql://me@127.0.0.1:1/none?connect_timeout=1")
    return tmp_path


def test_home_without_a_configuration_would_use_files_of_this_machine(
    home: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRDBVEC_CONFIG")
    (home / "dagster.yaml").unlink()
    (first, *_) = errors(check(invoke, 2))
    assert first.startswith("dagster: DAGSTER_HOME does not name a folder with dagster.yaml")


def test_embedded_storage_cannot_be_shared(home: Path, invoke: Invoke) -> None:
    (first, *_) = errors(check(invoke, 2))
    assert first.startswith("dagster: DAGSTER_PG_URL is not set")
    assert not (home / ".crdbvec").exists()


def test_other_storage_than_postgresql_is_an_error(home: Path, invoke: Invoke) -> None:
    (home / "dagster.yaml").write_text("storage: {sqlite: {base_dir: here}}", encoding="utf-8")
    (first, *_) = errors(check(invoke, 2))
    assert "is not PostgreSQL" in first
    assert not (home / "here").exists()


@pytest.fixture
def complete(home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """All that a worker needs, and the broker of it."""
    with postgres.new_database() as url, postgres.new_database() as storage:
        monkeypatch.setenv("CRDBVEC_URL", url)
        monkeypatch.setenv("DAGSTER_PG_URL", storage)
        with psycopg.connect(url, autocommit=True) as connection:
            create_table(connection)
        broker = RedisServer(home, "127.0.0.1", free_port())
        monkeypatch.setenv("CRDBVEC_BROKER_URL", broker.url)
        yield broker
        broker.kill()


@needs_redis
def test_all_checks_pass_and_each_fault_is_found(complete: RedisServer, home: Path, invoke: Invoke) -> None:
    found = check(invoke, 0)
    checks = ["storage", "version", "broker", "broker", "broker", "workers", "code", "model", "table"]
    assert [finding["check"] for finding in found] == checks
    # There are two runs at the same time, and this is the only worker.
    assert [finding["check"] for finding in found if finding["level"] != "ok"] == ["workers"]

    with redis.Redis.from_url(complete.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert errors(check(invoke, 2)) == [
            "broker: Redis has maxmemory-policy allkeys-lru, so runs in the queue can be evicted."
        ]
        client.config_set("maxmemory-policy", "noeviction")

    with dg.DagsterInstance.get() as instance:
        newer = {**own_versions(), "crdbvec-pipelines": "99.0.0"}
        instance.daemon_cursor_storage.set_cursor_values({"crdbvec/celery_launcher_versions": json.dumps(newer)})
    (different,) = errors(check(invoke, 2))
    assert different.endswith("and the daemon has 99.0.0.")

    write_config(home, {"model": "stub_hash", "input": "absent"})
    complete.kill()
    found = check(invoke, 2)
    assert "broker: The broker does not answer (OperationalError)." in errors(found)
    assert errors(found)[-1].startswith("table: ")


def test_another_run_launcher_is_an_error(
    home: Path, postgres: Server, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "dagster.yaml", home)
    with postgres.new_database() as storage:
        monkeypatch.setenv("DAGSTER_PG_URL", storage)
        found = errors(check(invoke, 2))
    assert any("MonitoredRunLauncher, so workers receive no runs" in error for error in found)
