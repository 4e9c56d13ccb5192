"""The roles of docs/security.md, as the document creates them: each can run its commands, and no other."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Invoke
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
STATEMENTS = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
ROLES = ("crdbvec_embed", "crdbvec_read", "crdbvec_search")
SEARCHES = (["search", "two", "-l", "1"], ["index", "status"])
READS = (["plan"], ["status"], ["errors", "list"])
WRITES = (["embed"], ["errors", "retry"])

AsRole = Callable[[str], None]


@pytest.fixture
def owner(
    project: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> Iterator[psycopg.Connection]:
    """The owner of a prepared table with the roles of the document."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project)
        create_table(connection, texts=["one", "two", "three"])
        connection.execute("ALTER TABLE passage ADD COLUMN secret TEXT")
        assert invoke("embed").exit_code == 0
        for block in STATEMENTS:
            connection.execute(block)
        yield connection
        for role in ROLES:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.fixture
def as_role(owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> AsRole:
    """Return a function that makes the commands run as a role."""
    info = owner.info

    def use(role: str) -> None:
        monkeypatch.setenv("CRDBVEC_URL", f"host={info.host} port={info.port} dbname={info.dbname} user={role}")

    return use


def succeeds(invoke: Invoke, *commands: list[str]) -> None:
    for command in commands:
        result = invoke(*command)
        assert result.exit_code == 0, f"{command}: {result.output}"


def is_rejected(invoke: Invoke, *commands: list[str]) -> None:
    for command in commands:
        result = invoke(*command)
        assert (result.exit_code, "permission denied" in result.stderr) == (2, True), f"{command}: {result.output}"


def test_the_role_that_searches_reads_the_table_only(
    owner: psycopg.Connection, invoke: Invoke, as_role: AsRole
) -> None:
    as_role("crdbvec_search")
    succeeds(invoke, *SEARCHES)
    is_rejected(invoke, ["status"], ["errors", "list"], ["embed"])


def test_the_role_that_reads_changes_nothing(owner: psycopg.Connection, invoke: Invoke, as_role: AsRole) -> None:
    owner.execute("INSERT INTO passage (id, passage) VALUES (99, 'four')")
    as_role("crdbvec_read")
    succeeds(invoke, *SEARCHES, *READS)
    is_rejected(invoke, ["embed"])
    assert owner.execute("SELECT count(passage_vector) FROM passage").fetchone() == (3,)


def test_the_role_that_embeds_writes_the_vector_only(
    owner: psycopg.Connection, invoke: Invoke, as_role: AsRole
) -> None:
    owner.execute("INSERT INTO passage (id, passage) VALUES (99, 'four')")
    owner.execute("UPDATE passage SET passage = 'edited' WHERE passage = 'one'")
    as_role("crdbvec_embed")
    succeeds(invoke, *WRITES, *SEARCHES, *READS)
    assert owner.execute("SELECT count(passage_vector) FROM passage").fetchone() == (4,)
    with psycopg.connect(owner.info.dsn, user="crdbvec_embed", autocommit=True) as session:
        for forbidden in (
            "SELECT secret FROM passage",
            "UPDATE passage SET passage = 'x'",
            "DELETE FROM passage",
            "CREATE TABLE own (id INT8)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(forbidden.encode())


def test_the_doctor_finds_nothing_that_prevents_the_work_of_the_role_that_embeds(
    owner: psycopg.Connection, invoke: Invoke, as_role: AsRole
) -> None:
    as_role("crdbvec_embed")
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    as_role("crdbvec_read")
    assert invoke("doctor").exit_code == 2
