"""DDL next to a running application: lock timeouts, retries, and statements that another process has already run."""

import logging

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable, is_duplicate_object, is_locked
from crdbvec_pipelines.database.session import NO_STATEMENT_TIMEOUT
from crdbvec_pipelines.database.statement import Statement

logger = logging.getLogger(__name__)

# With the lock timeout of the dialect (2 s on PostgreSQL) and the waits between attempts, about a minute in all.
_MAX_LOCK_ATTEMPTS = 10


def ddl_settings(database: Database, ddl: Statement) -> Settings:
    """Return the session settings for a DDL statement.

    A statement that locks the whole table gives up after a short lock timeout, so that no writer queues behind it. An
    online statement blocks no other session and runs without a statement timeout.
    """
    if ddl.is_online:
        return NO_STATEMENT_TIMEOUT
    dialect = database.dialect
    return dialect.several_locks_settings if ddl.locks_tables else dialect.ddl_lock_settings


def change_schema(database: Database, ddl: Statement) -> None:
    """Run a DDL statement. It is not an error if another process has run the same statement in the meantime.

    Raises:
        DatabaseUnavailable: Another transaction holds a lock on the table and does not end.
        DatabaseError: The server rejected the statement.
    """
    try:
        retry_when_locked(database.execute, ddl, settings=ddl_settings(database, ddl))
    except DatabaseError as error:
        if is_locked(error):
            raise DatabaseUnavailable(
                f"A long transaction holds a lock on the table, so {ddl.name} was not run ({_MAX_LOCK_ATTEMPTS} "
                "attempts, each short so that no other session waits for it). End that transaction, or run the same "
                "command again after it has ended.",
                error.sqlstate,
            ) from error
        if not is_duplicate_object(error):
            raise


def _log_lock_wait(state: RetryCallState) -> None:
    logger.info("Another transaction holds a lock on the table; trying again (attempt %d).", state.attempt_number)


retry_when_locked = Retrying(
    retry=retry_if_exception(is_locked),
    stop=stop_after_attempt(_MAX_LOCK_ATTEMPTS),
    wait=wait_random_exponential(multiplier=0.5, max=5),
    before_sleep=_log_lock_wait,
    reraise=True,
)
"""Runs a function again while another transaction holds a lock that its statements need."""
