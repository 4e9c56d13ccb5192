"""`crdbvec doctor`: one finding per fact, each with its remedy, and the exit code. It changes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.diagnosis import server as server_module
from tests.cli.conftest import Invoke
from tests.support.pooler import pooler
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.statements import probe
from tests.support.tables import create_table


@pytest.fixture
def owner(project: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """The owner of a table of three rows in a project that names it."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project)
        create_table(connection, texts=["one", "two", "three"])
        yield connection


@pytest.fixture
def role(owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role that may connect, and as which the commands run from now on."""
    name = f"reader of {owner.info.dbname}"
    owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def as_role(monkeypatch: pytest.MonkeyPatch, owner: psycopg.Connection, role: str) -> None:
    info = owner.info
    monkeypatch.setenv("CRDBVEC_URL", f"host={info.host} port={info.port} dbname={info.dbname} user='{role}'")


def doctor(invoke: Invoke, exit_code: int) -> list[dict[str, Any]]:
    """Run the command both ways, and return what it found wrong."""
    result = invoke("doctor", "--json")
    assert result.exit_code == exit_code, result.output
    found = json.loads(result.stdout)
    assert found["works"] == (exit_code == 0)
    assert all(each["remedy"] or each["check"] in ("connection", "table", "dagster") for each in wrong(found))
    text = invoke("doctor")
    assert text.exit_code == exit_code
    assert len(text.stdout.splitlines()) == len(found["findings"])
    return wrong(found)


def wrong(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in found["findings"] if each["level"] != "ok"]


def test_nothing_is_wrong_before_and_after_the_table_is_prepared(owner: psycopg.Connection, invoke: Invoke) -> None:
    columns = "SELECT count(*) FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid"
    before = owner.execute(columns).fetchone()
    assert doctor(invoke, 0) == []
    assert owner.execute(columns).fetchone() == before
    assert invoke("embed").exit_code == 0
    assert doctor(invoke, 0) == []
    checks = [each["check"] for each in json.loads(invoke("doctor", "--json").stdout)["findings"]]
    assert checks == [
        "connection", "tls", "server", "extension", "pooler", "settings", "clock", "table", "privileges", "triggers",
        "schema", "dagster",
    ]  # fmt: skip


def test_unreachable_server_is_a_finding_without_the_password(
    owner: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", "postgresql://me:geheim@127.0.0.1:1/none")
    (finding,) = doctor(invoke, 2)
    assert (finding["check"], finding["level"]) == ("connection", "error")
    assert "geheim" not in invoke("doctor").output


def test_the_remedies_give_a_role_the_privileges_of_all_commands(
    owner: psycopg.Connection, role: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("embed").exit_code == 0
    owner.execute("INSERT INTO passage (id, passage) VALUES (99, 'four')")
    as_role(monkeypatch, owner, role)
    found = doctor(invoke, 2)
    assert {each["check"] for each in found} == {"privileges"}, found
    grants = [each["remedy"].removeprefix("Run: ") for each in found if each["level"] == "error"]
    for grant in grants:
        assert grant.startswith("GRANT ")
        owner.execute(grant)
    (remaining,) = doctor(invoke, 0)
    assert "is not the owner" in remaining["message"]
    for command in (["plan"], ["embed"], ["search", "two", "-l", "1"], ["status"], ["errors", "list"]):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
    assert owner.execute("SELECT count(passage_vector) FROM passage").fetchone() == (4,)


def test_a_role_that_cannot_prepare_the_table_is_named_with_the_statements(
    owner: psycopg.Connection, role: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute(sql.SQL("GRANT SELECT ON passage TO {}").format(sql.Identifier(role)))
    as_role(monkeypatch, owner, role)
    extension, finding = doctor(invoke, 2)
    assert extension["check"] == "extension"
    assert f"the role {role} is not its owner" in finding["message"]
    assert 'ALTER TABLE "public"."passage" ADD COLUMN' in finding["remedy"]


def test_a_role_that_cannot_create_the_extension_is_named_before_embed_fails(
    owner: psycopg.Connection, role: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute("DROP EXTENSION IF EXISTS vector")
    owner.execute(
        sql.SQL("ALTER TABLE passage OWNER TO {0}; GRANT CREATE ON SCHEMA public TO {0}").format(sql.Identifier(role))
    )
    assert doctor(invoke, 0) == []
    as_role(monkeypatch, owner, role)
    (finding,) = doctor(invoke, 0)
    assert (finding["check"], finding["level"]) == ("extension", "warning")
    assert f"not the role {role}." in finding["message"]
    assert "permission denied to create extension" in invoke("embed").output
    owner.execute(finding["remedy"].partition(": ")[2])
    assert doctor(invoke, 0) == []
    assert invoke("embed").exit_code == 0


def test_row_level_security_is_reported_to_the_role_that_it_applies_to(
    owner: psycopg.Connection, role: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("embed").exit_code == 0
    owner.execute("ALTER TABLE passage ENABLE ROW LEVEL SECURITY")
    owner.execute("CREATE POLICY one ON passage USING (passage = 'one')")
    assert doctor(invoke, 0) == []
    owner.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role)))
    as_role(monkeypatch, owner, role)
    assert [each["check"] for each in doctor(invoke, 0)] == ["privileges", "policies"]


@pytest.mark.parametrize("returned", ["NULL", "OLD", "NEW"])
def test_a_trigger_that_discards_writes_prevents_work(owner: psycopg.Connection, invoke: Invoke, returned: str) -> None:
    assert invoke("embed").exit_code == 0
    owner.execute(f"CREATE FUNCTION f() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN {returned}; END'".encode())
    owner.execute('CREATE TRIGGER "My trigger" BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION f()')
    (finding,) = doctor(invoke, 2 if returned == "NULL" else 0)
    assert (finding["check"], "My trigger" in finding["message"]) == ("triggers", True)


def test_a_rule_that_replaces_updates_prevents_work(owner: psycopg.Connection, invoke: Invoke) -> None:
    assert invoke("embed").exit_code == 0
    owner.execute("CREATE RULE no_update AS ON UPDATE TO passage DO INSTEAD NOTHING")
    (finding,) = doctor(invoke, 2)
    owner.execute(finding["remedy"].removeprefix("Drop it: "))
    assert doctor(invoke, 0) == []


def test_a_wrong_column_is_a_finding_and_the_other_columns_are_checked(
    project: Path, owner: psycopg.Connection, invoke: Invoke
) -> None:
    write_config(project, {"input": "body"}, {"output": "other"})
    (finding,) = doctor(invoke, 2)
    assert "has no column body to embed" in finding["message"]
    subjects = {each["subject"] for each in json.loads(invoke("doctor", "--json").stdout)["findings"]}
    assert subjects >= {"public.passage.passage_vector", "public.passage.other"}


@pytest.mark.parametrize(
    ("setting", "exit_code", "words"),
    [
        ("default_transaction_read_only = on", 2, "are read-only"),
        ("statement_timeout = '5s'", 0, "after 5 s"),
        ("idle_session_timeout = '90s'", 0, "idle for 90 s"),
    ],
)
def test_settings_that_limit_the_work_are_reported(
    owner: psycopg.Connection, invoke: Invoke, setting: str, exit_code: int, words: str
) -> None:
    name = sql.Identifier(owner.info.dbname).as_string()
    owner.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    (finding,) = doctor(invoke, exit_code)
    assert (finding["check"], words in finding["message"]) == ("settings", True)


@pytest.mark.parametrize("hours", [-1, 1])
def test_different_clocks_are_reported(
    owner: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    sent = {
        -1: probe("SELECT clock_timestamp() - interval '1 h'"),
        1: probe("SELECT clock_timestamp() + interval '1 h'"),
    }
    monkeypatch.setattr(server_module, "read_clock", lambda: sent[hours])
    (finding,) = doctor(invoke, 0)
    assert finding["check"] == "clock"
    assert "differ by 3,600 s" in finding["message"]


def test_a_pooler_that_keeps_sessions_prevents_nothing(
    owner: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = owner.info
    with pooler(f"postgresql://{info.user}@/{info.dbname}?host={info.host}", "ignore") as url:
        assert urlsplit(url).hostname == "127.0.0.1"
        monkeypatch.setenv("CRDBVEC_URL", url)
        assert doctor(invoke, 0) == []


def test_index_that_is_missing_or_differs_is_reported(project: Path, owner: psycopg.Connection, invoke: Invoke) -> None:
    write_config(project, {"index": {}})
    assert invoke("embed").exit_code == 0
    (finding,) = doctor(invoke, 0)
    assert (finding["check"], finding["remedy"]) == ("index", "Run `crdbvec index build`.")
    assert invoke("index", "build").exit_code == 0
    assert doctor(invoke, 0) == []
    write_config(project, {"index": {"m": 24}})
    (finding,) = doctor(invoke, 0)
    assert finding["remedy"] == "Run `crdbvec index build --replace`."


def test_storage_of_dagster_is_checked(
    project: Path, owner: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(project))
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql://me:geheim@127.0.0.1:1/dagster")
    home, storage = doctor(invoke, 2)
    assert "names a folder without dagster.yaml" in home["message"]
    assert "DAGSTER_PG_URL cannot be used" in storage["message"]
    assert "geheim" not in storage["message"]
    (project / "dagster.yaml").write_text("")
    info = owner.info
    monkeypatch.setenv("DAGSTER_PG_URL", f"postgresql+psycopg2://{info.user}@/{info.dbname}?host={info.host}")
    assert doctor(invoke, 0) == []
