"""The open databases of a command: each is opened when the first of its vector columns is worked on."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from crdbvec_pipelines.config import DatabaseSpec, ProjectConfig, VectorColumn
from crdbvec_pipelines.database.connection import Database


def database_spec(config: ProjectConfig | None, name: str | None) -> DatabaseSpec:
    """Return the settings of a database of a configuration, by its name; the defaults if there is no configuration.

    Raises:
        ConfigurationError: There is no database of this name.
    """
    return config.database_named(name) if config else DatabaseSpec()


class Databases:
    """The databases of a configuration; `open_databases` closes those that were opened.

    Args:
        config: The configuration; None if there is none, and all columns are in the default database.
        url: A URL to use instead of the configured one, for columns that are all in one database.
        stack: What closes the databases.
    """

    def __init__(self, config: ProjectConfig | None, url: str | None, stack: ExitStack) -> None:
        self._config = config
        self._url = url
        self._stack = stack
        self._opened: dict[str | None, Database] = {}

    def of(self, column: VectorColumn) -> Database:
        """Return the database of a vector column.

        Raises:
            ConfigurationError: The environment variable with its URL is not set.
            DatabaseUnavailable: It cannot be reached.
            ConnectionRejected: The server rejects the connection.
        """
        if column.database not in self._opened:
            spec = database_spec(self._config, column.database)
            database = Database(self._url or spec.read_url(), reply_timeout=spec.reply_timeout_seconds)
            self._opened[column.database] = self._stack.enter_context(database)
        return self._opened[column.database]


@contextmanager
def open_databases(config: ProjectConfig | None, url: str | None = None) -> Iterator[Databases]:
    """Yield the databases of a configuration, and close at the end those that were used."""
    with ExitStack() as stack:
        yield Databases(config, url, stack)
