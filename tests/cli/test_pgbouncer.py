"""The commands through PgBouncer: with sessions of their own, with shared sessions, and with TLS."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.database.diagnosis.server import tls_finding
from crdbvec_pipelines.database.transport import Transport
from tests.cli.conftest import Invoke
from tests.support.pgbouncer import Authority, needs_openssl, needs_pgbouncer, new_authority, pgbouncer
from tests.support.processes import start_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table
from tests.support.waiting import wait_until

COMMANDS = (
    ["plan"],
    ["embed"],
    ["embed", "-F", "--max-idle", "0"],
    ["search", "one"],
    ["status"],
    ["errors", "list"],
    ["index", "build"],
)


@pytest.fixture
def owner(project: Path, postgres: Server) -> Iterator[psycopg.Connection]:
    """The owner of a table of two rows in a project that names it."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        write_config(project, {"model": "stub_hash"})
        create_table(connection, texts=["one", "two"])
        yield connection


def url_of(connection: psycopg.Connection) -> str:
    info = connection.info
    return f"postgresql://{info.user}@/{info.dbname}?host={info.host}"


def doctor(invoke: Invoke, check: str, exit_code: int) -> str:
    """Return the message of a finding."""
    result = invoke("doctor", "--json")
    assert result.exit_code == exit_code, result.output
    (message,) = [each["message"] for each in json.loads(result.stdout)["findings"] if each["check"] == check]
    assert isinstance(message, str)
    return message


@needs_pgbouncer
def test_commands_work_with_sessions_of_their_own(
    owner: psycopg.Connection, folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(url_of(owner), folder, pool_mode="session") as url:
        monkeypatch.setenv("CRDBVEC_URL", url)
        for command in COMMANDS:
            result = invoke(*command)
            assert result.exit_code == 0, result.output
        assert doctor(invoke, "pooler", 0) == "A connection pooler keeps one session of the server for each connection."
    assert owner.execute("SELECT count(passage_vector) FROM passage").fetchone() == (2,)


@needs_pgbouncer
def test_one_session_is_enough_and_is_waited_for(
    owner: psycopg.Connection, folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(url_of(owner), folder, pool_mode="session", default_pool_size=1, query_wait_timeout=1) as url:
        monkeypatch.setenv("CRDBVEC_URL", url)
        with psycopg.connect(url, autocommit=True) as application:
            application.execute("SELECT 1")
            result = invoke("status")
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr.startswith("Error: The database could not be reached")
        assert invoke("embed").exit_code == 0
    assert owner.execute("SELECT count(passage_vector) FROM passage").fetchone() == (2,)


@needs_pgbouncer
@pytest.mark.parametrize(
    "settings",
    [
        {"pool_mode": "transaction"},
        {"pool_mode": "statement"},
        {"pool_mode": "transaction", "default_pool_size": 1},
        {"pool_mode": "transaction", "server_round_robin": 1},
    ],
    ids=str,
)
def test_commands_reject_shared_sessions_and_do_not_change_them(
    owner: psycopg.Connection,
    folder: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
) -> None:
    with pgbouncer(url_of(owner), folder, **settings) as url:
        with psycopg.connect(url, autocommit=True, application_name="other") as application:
            before = application.execute("SELECT name, setting FROM pg_settings ORDER BY name").fetchall()
        monkeypatch.setenv("CRDBVEC_URL", url)
        for command in COMMANDS:
            result = invoke(*command)
            assert (result.exit_code, result.stdout) == (2, ""), result.output
            (line,) = result.stderr.splitlines()
            assert line.endswith(
                "Connect to the server directly, or set pool_mode = session for this database in PgBouncer."
            )
        assert "set pool_mode = session" in doctor(invoke, "pooler", 2)
        with psycopg.connect(url, autocommit=True, application_name="other") as application:
            after = application.execute("SELECT name, setting FROM pg_settings ORDER BY name").fetchall()
        assert after == before
    assert owner.execute("SELECT to_regclass('crdbvec_vector_columns')").fetchone() == (None,)


@needs_pgbouncer
def test_server_that_is_lost_behind_the_pooler_is_no_failure_of_a_row(
    owner: psycopg.Connection, project: Path, folder: Path, invoke: Invoke
) -> None:
    owner.execute("INSERT INTO passage SELECT n, 'text ' || n FROM generate_series(100, 400) AS n")
    write_config(project, {"model": "stub_slow", "batch_size": 5})
    with pgbouncer(url_of(owner), folder, pool_mode="session") as url:
        process = start_crdbvec(["embed"], project, CRDBVEC_URL=url)
        for embedded in (10, 50, 100):
            wait_until(lambda: count(owner) >= embedded)  # noqa: B023
            owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert count(owner) == 303
    assert owner.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)


def count(connection: psycopg.Connection) -> int:
    # The column is added when the table is prepared.
    with suppress(psycopg.errors.UndefinedColumn):
        found = connection.execute("SELECT count(passage_vector) FROM passage").fetchone()
        assert found is not None
        rows: int = found[0]
        return rows
    return 0


@pytest.fixture
def authority(folder: Path) -> Authority:
    return new_authority(folder, "authority")


@needs_pgbouncer
@needs_openssl
def test_tls_that_verifies_the_server(
    owner: psycopg.Connection, folder: Path, authority: Authority, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = new_authority(folder, "other")
    with pgbouncer(
        url_of(owner),
        folder,
        pool_mode="session",
        client_tls_sslmode="require",
        client_tls_cert_file=authority.certificate,
        client_tls_key_file=authority.key,
    ) as url:
        verified = f"{url}?sslmode=verify-full&sslrootcert="
        monkeypatch.setenv("CRDBVEC_URL", f"{verified}{authority.file}")
        for command in COMMANDS:
            result = invoke(*command)
            assert result.exit_code == 0, result.output
        message = "The connection is encrypted, and the name of the server is verified."
        assert doctor(invoke, "tls", 0) == message
        for wrong in (
            f"{verified}{other.file}",
            f"{verified}{folder / 'absent.pem'}",
            f"{verified}{authority.file}".replace("localhost", "127.0.0.1"),
            f"{url}?sslmode=disable",
        ):
            monkeypatch.setenv("CRDBVEC_URL", wrong)
            result = invoke("status")
            assert (result.exit_code, result.stdout) == (2, ""), wrong
            (line,) = result.stderr.splitlines()
            assert line.endswith(
                "Correct the user name, the password, the database, the host name or the certificate in the database "
                "URL."
            )


@pytest.mark.parametrize(
    ("transport", "level", "words"),
    [
        (Transport(True, False, "prefer"), "ok", "does not leave this machine"),
        (Transport(True, True, "verify-full"), "ok", "name of the server is verified"),
        (Transport(False, True, "verify-full"), "ok", "name of the server is verified"),
        (Transport(False, False, "prefer"), "warning", "is not encrypted"),
        (Transport(False, True, "verify-ca"), "warning", "but not its name"),
        (Transport(False, True, "prefer"), "warning", "does not verify the server (sslmode=prefer)"),
    ],
)
def test_connection_that_the_network_can_read_or_change_is_reported(
    transport: Transport, level: str, words: str
) -> None:
    finding = tls_finding(transport)
    assert (finding.level, words in finding.message) == (level, True)
    assert (finding.remedy is None) == (level == "ok")
