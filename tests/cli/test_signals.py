"""SIGINT and SIGTERM: the first ends a command where its wait can be interrupted, two end it in every state."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.cli.conftest import Invoke
from tests.support.models import CallLog
from tests.support.processes import start_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table, vectors
from tests.support.waiting import wait_until

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
# The product's promise, and not a limit for a busy machine: the second signal needs no work of the process.
AT_ONCE_SECONDS = 5
# Longer than `timeout` takes to send its signal twice.
BETWEEN_SECONDS = 0.5

HANGING = {"model": "stub_hanging"}
COMMANDS: Sequence[Sequence[str]] = (
    ("embed",),
    ("embed", "-F"),
    ("search", "text"),
    ("plan",),
    ("status",),
    ("errors", "list"),
    ("index", "status"),
    ("index", "build"),
    ("index", "tune"),
    ("doctor",),
    ("uninstall", "--yes"),
)


@dataclass(frozen=True)
class Table:
    """A prepared table in the database of a project, and the file that shows that the model does not return."""

    folder: Path
    connection: psycopg.Connection
    hanging: Path

    def start(self, *arguments: str, hangs: str = "") -> "subprocess.Popen[str]":
        return start_crdbvec(arguments, self.folder, CRDBVEC_TEST_HANGS=hangs)

    def sessions(self, condition: str) -> list[int]:
        """Return the sessions of the product of which a condition is true."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND "
        return [pid for (pid,) in self.connection.execute((query + condition).encode()).fetchall()]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let every statement on the table and on the metadata tables wait."""
        with psycopg.connect(self.connection.info.dsn) as other:
            for name in ("passage", "crdbvec_row_errors", "crdbvec_vector_columns", "crdbvec_metadata_version"):
                other.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(name)))
            yield


@pytest.fixture
def table(
    project: Path, postgres: Server, calls: CallLog, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Table]:
    """A prepared table with one embedded and one pending row."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        monkeypatch.setenv("CRDBVEC_URL", url)
        write_config(project, HANGING)
        create_table(connection, texts=["one"])
        assert invoke("embed").exit_code == 0
        connection.execute("INSERT INTO passage (id, passage) VALUES (1, 'two')")
        yield Table(project, connection, Path(f"{calls.path}.hanging"))


def end_with_one(process: "subprocess.Popen[str]", number: int) -> str:
    """Send a signal, and return stderr of the process, which must end with its exit code and one sentence."""
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == 128 + number, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    return stderr


def end_with_two(process: "subprocess.Popen[str]", number: int) -> None:
    """Send a signal, and another one if the process has not ended; then it must end at once."""
    process.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(BETWEEN_SECONDS)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=AT_ONCE_SECONDS)
    # Ended by the process itself, or by the system, which shells report in the same way.
    assert process.returncode in (128 + number, -number), stderr
    assert "Traceback" not in stderr


@SIGNALS
@pytest.mark.parametrize(
    ("arguments", "hangs"),
    [
        (("model", "desc", "stub_hanging"), "import python"),
        (("search", "text"), "load python"),
        (("plan",), "load python"),
        (("search", "text"), "query python"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_one_signal_ends_a_command_whose_model_waits_in_python(
    table: Table, number: int, arguments: Sequence[str], hangs: str
) -> None:
    process = table.start(*arguments, hangs=hangs)
    wait_until(table.hanging.exists)
    assert f"Interrupted by {signal.Signals(number).name}." in end_with_one(process, number)


@SIGNALS
@pytest.mark.parametrize(
    ("arguments", "hangs"),
    [
        (("embed",), "encode python"),
        (("embed",), "encode locked"),
        (("embed", "-F"), "encode python"),
        (("embed", "-F"), "load c"),
        (("search", "text"), "query c"),
        (("search", "text"), "query locked"),
        (("search", "text"), "load locked"),
        (("plan",), "encode c"),
        (("index", "status"), "import c"),
        (("model", "list"), "import locked"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_two_signals_end_a_command_whose_model_does_not_return(
    table: Table, number: int, arguments: Sequence[str], hangs: str
) -> None:
    process = table.start(*arguments, hangs=hangs)
    wait_until(table.hanging.exists)
    end_with_two(process, number)


def test_a_command_that_waits_after_the_first_signal_says_how_to_end_it(table: Table) -> None:
    process = table.start("embed", hangs="encode python")
    wait_until(table.hanging.exists)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == (
        "[INFO] Waiting until the current batch or statement ends. Another Ctrl-C ends the process at once.\n"
    )
    end_with_two(process, signal.SIGINT)


def test_signal_that_is_sent_twice_at_once_counts_as_one(table: Table, calls: CallLog) -> None:
    """As `timeout` sends it: to the process, and again to the group of the process."""
    write_config(table.folder, {"model": "stub_slow"})
    process = table.start("embed", "-F", "--json")
    wait_until(lambda: len(calls.inputs()) > 0)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_one_signal_ends_a_command_whose_server_never_answers(project: Path, arguments: Sequence[str]) -> None:
    write_config(project)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/db"
        process = start_crdbvec(arguments, project, CRDBVEC_URL=url)
        with listener.accept()[0]:
            end_with_one(process, signal.SIGINT)


@SIGNALS
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_two_signals_end_a_command_that_waits_for_a_lock_or_a_stopped_server(
    table: Table, number: int, arguments: Sequence[str]
) -> None:
    with table.locked():
        process = table.start(*arguments)
        wait_until(lambda: bool(table.sessions("wait_event_type = 'Lock'")))
        stopped = table.sessions("wait_event_type = 'Lock'") if number == signal.SIGTERM else []
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            end_with_two(process, number)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


@SIGNALS
def test_one_signal_ends_a_command_that_waits_for_a_locked_row(table: Table, number: int) -> None:
    with psycopg.connect(table.connection.info.dsn) as other:
        other.execute("SELECT 1 FROM passage WHERE id = 1 FOR UPDATE")
        process = table.start("embed")
        waiting = "state = 'idle' AND query LIKE '%crdbvec_%'"
        wait_until(lambda: len(table.sessions(waiting)) > 0)
        end_with_one(process, number)


@SIGNALS
def test_one_signal_ends_a_command_that_waits_for_another_process(table: Table, number: int) -> None:
    first = table.start("embed", hangs="encode python")
    wait_until(table.hanging.exists)
    second = table.start("embed")
    assert second.stderr is not None
    assert "Waiting for another process" in second.stderr.readline()
    assert "Interrupted by" in end_with_one(second, number)
    end_with_two(first, number)
    # The range of the process that ended at once is free again.
    assert table.start("embed").wait() == 0
    assert [vector is None for vector in vectors(table.connection).values()] == [False, False]


@SIGNALS
@pytest.mark.parametrize("arguments", [("embed", "-F"), ("embed",)], ids=" ".join)
def test_two_signals_end_a_process_whose_server_is_absent(
    table: Table, number: int, arguments: Sequence[str], postgres: Server
) -> None:
    name = sql.Identifier(table.connection.info.dbname)
    with psycopg.connect(table.connection.info.dsn) as other:
        other.execute("SELECT 1 FROM passage WHERE id = 1 FOR UPDATE")
        process = table.start(*arguments)
        wait_until(lambda: len(table.sessions("query LIKE '%crdbvec_%'")) > 0)
        with psycopg.connect(postgres.url, autocommit=True) as administrator:
            administrator.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            try:
                for pid in table.sessions(f"pid <> {other.info.backend_pid}"):
                    administrator.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
                end_with_two(process, number)
            finally:
                administrator.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
