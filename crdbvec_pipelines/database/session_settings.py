"""The settings of a session: those of every statement, and others for a single one, which are restored after it."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.session import reset_session, set_session


class SessionSettings:
    """The settings that every session of a pool has.

    Args:
        usual: Values by name.
    """

    def __init__(self, usual: Settings) -> None:
        self._usual = usual

    def apply(self, connection: psycopg.Connection) -> None:
        """Set them in a new session."""
        for setting in self._usual.items():
            connection.execute(set_session(setting).query)

    @contextmanager
    def changed(self, connection: psycopg.Connection, settings: Settings) -> Iterator[None]:
        """Change settings for the statements of the block, and restore them after it."""
        try:
            for setting in settings.items():
                connection.execute(set_session(setting).query)
            yield
        finally:
            if not connection.broken:
                self._restore(connection, settings)

    @contextmanager
    def changed_in_pipeline(self, connection: psycopg.Connection, settings: Settings) -> Iterator[None]:
        """Send the statements of the block in pipeline mode with settings for them, all of it in one round trip.

        Until the pipeline ends, its statements are one implicit transaction.
        """
        failure: psycopg.Error | None = None
        try:
            with connection.pipeline():
                try:
                    for setting in settings.items():
                        connection.execute(set_session(setting).query, prepare=False)
                    yield
                    self._restore(connection, settings)
                except psycopg.Error as error:
                    # The pipeline must end without an error in progress, otherwise psycopg logs those of the statements
                    # that follow the failed one.
                    failure = error
        except psycopg.Error as error:
            failure = failure or error
        if failure is not None:
            self._restore_after_failure(connection, settings)
            raise failure

    @contextmanager
    def changed_in_transaction(self, connection: psycopg.Connection, settings: Settings) -> Iterator[None]:
        """Send the statements of the block in pipeline mode as one transaction, with settings for them."""
        try:
            with connection.transaction(), connection.pipeline():
                for setting in settings.items():
                    connection.execute(set_session(setting).query, prepare=False)
                yield
                self._restore(connection, settings)
        except psycopg.Error:
            self._restore_after_failure(connection, settings)
            raise

    def _restore_after_failure(self, connection: psycopg.Connection, settings: Settings) -> None:
        """Restore them after a transaction that failed; PostgreSQL rolls them back with it, CockroachDB does not."""
        if not connection.broken:
            self._restore(connection, settings)

    def _restore(self, connection: psycopg.Connection, settings: Settings) -> None:
        for name in settings:
            value = self._usual.get(name)
            # RESET would restore the server's value, not the one that `apply` has set.
            restore = reset_session(name) if value is None else set_session((name, value))
            # psycopg would use a prepared statement that does not exist if its preparation was in a failed pipeline.
            connection.execute(restore.query, prepare=False)
