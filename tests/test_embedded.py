"""The embedded server: it keeps its data, is shared by processes, and reports errors with the remedy."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.errors import CrdbvecError
from tests.support.processes import ROOT, run_python
from tests.support.waiting import wait_until


def test_data_is_kept_after_a_restart(folder: Path) -> None:
    server = EmbeddedServer(folder / "deep" / "postgres")
    with psycopg.connect(server.ensure_database('odd "name"'), autocommit=True) as connection:
        connection.execute("CREATE TABLE persistent (n INT8)")
    assert server.ensure_database('odd "name"') == server.url('odd "name"')
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url('odd "name"'))
    server = EmbeddedServer(folder / "deep" / "postgres")
    try:
        with psycopg.connect(server.ensure_database('odd "name"')) as connection:
            assert connection.execute("SELECT count(*) FROM persistent").fetchone() == (0,)
    finally:
        server.stop()


def test_server_has_pgvector_and_does_not_listen_on_a_port(folder: Path) -> None:
    server = EmbeddedServer(folder / "postgres")
    try:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            assert connection.execute("SELECT current_setting('listen_addresses')").fetchone() == ("",)
    finally:
        server.stop()


def test_server_is_shared_with_another_process(folder: Path) -> None:
    source = (
        "from pathlib import Path; from crdbvec_pipelines.embedded import EmbeddedServer; "
        f"print(EmbeddedServer(Path({str(folder / 'postgres')!r})).url())"
    )
    server = EmbeddedServer(folder / "postgres")
    try:
        assert run_python(source, ROOT).strip() == server.url()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


def start_and_lose(folder: Path) -> psutil.Process:
    """Start a server with a database `persistent` by a process that ends without stopping it, and return the server."""
    source = (
        "import os; from pathlib import Path; from crdbvec_pipelines.embedded import EmbeddedServer; "
        f"EmbeddedServer(Path({str(folder)!r})).ensure_database('persistent'); os._exit(0)"
    )
    run_python(source, ROOT)
    return psutil.Process(int((folder / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0]))


def kill(server: psutil.Process) -> None:
    """Kill a server with all its processes."""
    processes = [server, *server.children()]
    for process in processes:
        process.kill()
    wait_until(lambda: not any(map(is_running, processes)))


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_server_stops_although_another_process_that_used_it_was_killed(folder: Path) -> None:
    lost = start_and_lose(folder / "postgres")
    assert is_running(lost)
    EmbeddedServer(folder / "postgres").stop()
    wait_until(lambda: not is_running(lost))


def test_server_stops_at_exit_although_another_process_that_used_it_was_killed(folder: Path) -> None:
    lost = start_and_lose(folder / "postgres")
    source = (
        "from pathlib import Path; from crdbvec_pipelines.embedded import EmbeddedServer; "
        f"EmbeddedServer(Path({str(folder / 'postgres')!r}))"
    )
    run_python(source, ROOT)
    wait_until(lambda: not is_running(lost))


def _keep(folder: Path) -> None:
    """Leave all files of the killed server."""


def _reuse_pid(folder: Path) -> None:
    """Let a running process that is not a server have the id in the pid file and in the lock file of the socket."""
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        _, *others = (folder / name).read_text(encoding="utf-8").split("\n")
        (folder / name).write_text("\n".join([str(os.getpid()), *others]), encoding="utf-8")


def _truncate_pid(folder: Path) -> None:
    lines = (folder / "postmaster.pid").read_text(encoding="utf-8").split("\n")
    (folder / "postmaster.pid").write_text("\n".join(lines[:3]), encoding="utf-8")


def _empty_pid(folder: Path) -> None:
    (folder / "postmaster.pid").write_text("", encoding="utf-8")


def _truncate_users(folder: Path) -> None:
    (folder / ".handle_pids.json").write_text("[12", encoding="utf-8")


@pytest.mark.parametrize("damage", [_keep, _reuse_pid, _truncate_pid, _empty_pid, _truncate_users])
def test_server_starts_after_it_was_killed(folder: Path, damage: Callable[[Path], None]) -> None:
    kill(start_and_lose(folder / "postgres"))
    damage(folder / "postgres")
    server = EmbeddedServer(folder / "postgres")
    try:
        with psycopg.connect(server.url("persistent")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
    assert not (folder / "postgres" / "postmaster.pid").exists()


def test_error_of_the_start_names_log_and_remedy(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("9", encoding="utf-8")
    with pytest.raises(CrdbvecError, match=r"PostgreSQL in .* did not start \(\w+\)\. Read its log ") as caught:
        EmbeddedServer(folder / "postgres")
    assert str(caught.value).endswith("or delete the folder to start again without its data.")


def test_path_with_a_space_is_rejected_before_the_folder_is_created(folder: Path) -> None:
    with pytest.raises(CrdbvecError, match=r"the path contains a space\. Choose another folder"):
        EmbeddedServer(folder / "my data" / "postgres")
    assert list(folder.iterdir()) == []
