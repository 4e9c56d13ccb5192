"""The tokens that a model has read for a vector column, by hour, and their price.

The counts are rows of `crdbvec_usage`, a metadata table (one per schema), because the command line, followers and runs
of Dagster all add to them, and a sum of the last day then reads a few rows.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.database.statement import statement

logger = logging.getLogger(__name__)

USAGE_TABLE = "crdbvec_usage"

_PERIOD = timedelta(days=1)
# So that two months can be compared in the table.
_KEPT = timedelta(days=62)
# A process that is killed loses the tokens of this time. More frequent writes would make concurrent runs wait for each
# other, because they add to the same row.
_INTERVAL_SECONDS = 30.0

_OF_COLUMN = sql.SQL("crdbvec_hour.table_name = %(table_name)s::text AND crdbvec_hour.output = %(output)s::text")


def _usage(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, USAGE_TABLE)


@statement
def create_usage_table(schema: str) -> sql.Composable:
    """Create the table of the tokens by hour."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, hour TIMESTAMPTZ NOT NULL, "
        "tokens INT8 NOT NULL, cost FLOAT8 NOT NULL, PRIMARY KEY (table_name, output, hour))"
    ).format(_usage(schema))


@statement
def add_usage(schema: str) -> sql.Composable:
    """Add tokens and their price to those of the current hour."""
    return sql.SQL(
        "INSERT INTO {} AS crdbvec_hour (table_name, output, hour, tokens, cost) VALUES (%(table_name)s::text, "
        "%(output)s::text, date_trunc('hour', now()), %(tokens)s::int8, %(cost)s::float8) "
        "ON CONFLICT (table_name, output, hour) DO UPDATE SET tokens = crdbvec_hour.tokens + excluded.tokens, "
        "cost = crdbvec_hour.cost + excluded.cost"
    ).format(_usage(schema))


@statement
def sum_usage(schema: str) -> sql.Composable:
    """Read the tokens and their price in the hours that ended in a period until now."""
    return sql.SQL(
        "SELECT coalesce(sum(crdbvec_hour.tokens), 0)::int8, coalesce(sum(crdbvec_hour.cost), 0)::float8 "
        "FROM {} AS crdbvec_hour WHERE {} AND crdbvec_hour.hour > now() - %(period)s::interval"
    ).format(_usage(schema), _OF_COLUMN)


@statement
def delete_old_usage(schema: str) -> sql.Composable:
    """Delete the hours before a period until now."""
    return sql.SQL(
        "DELETE FROM {} AS crdbvec_hour WHERE {} AND crdbvec_hour.hour <= now() - %(period)s::interval"
    ).format(_usage(schema), _OF_COLUMN)


@statement
def delete_usage(schema: str) -> sql.Composable:
    """Delete the tokens of a vector column."""
    return sql.SQL("DELETE FROM {} AS crdbvec_hour WHERE {}").format(_usage(schema), _OF_COLUMN)


@dataclass(frozen=True)
class Usage:
    """The tokens of a period.

    Attributes:
        tokens: The tokens that the model has read.
        cost: Their price when they were read; 0 where it was not known.
    """

    tokens: int
    cost: float


class UsageRecorder:
    """Adds the tokens of a refresh to the table, every 30 seconds and at the end. Thread-safe.

    Tokens that cannot be written are kept for the next attempt. A refresh never fails because of them: a role may lack
    the privileges for the table, or the metadata tables may be those of an earlier release.

    Args:
        column: The vector column.
    """

    def __init__(self, column: BoundColumn) -> None:
        self._column = column
        self._tokens = 0
        self._written_at = time.monotonic()
        self._lock = threading.Lock()

    def add(self, tokens: int) -> None:
        """Add the tokens of a batch."""
        with self._lock:
            self._tokens += tokens
            is_due = time.monotonic() - self._written_at >= _INTERVAL_SECONDS
        if is_due:
            self.write()

    def write(self) -> None:
        """Write the tokens that have not been written."""
        with self._lock:
            tokens, self._tokens = self._tokens, 0
            self._written_at = time.monotonic()
        if not tokens:
            return
        cost = self._column.spec.price_of(tokens) or 0.0
        try:
            self._column.database.execute(
                add_usage(self._column.table.name.schema), {**_names(self._column), "tokens": tokens, "cost": cost}
            )
        except DatabaseError as error:
            with self._lock:
                self._tokens += tokens
            logger.info("%d tokens of %s were not recorded: %s", tokens, self._column.spec, error)


def usage_of_last_day(column: BoundColumn) -> Usage:
    """Return the tokens of the last 24 hours, to the hour, by all processes."""
    tokens, cost = column.database.fetch_one(sum_usage(column.table.name.schema), {**_names(column), "period": _PERIOD})
    return Usage(int(tokens), float(cost))


def delete_expired_usage(column: BoundColumn) -> None:
    """Delete the hours of more than two months ago."""
    column.database.execute(delete_old_usage(column.table.name.schema), {**_names(column), "period": _KEPT})


def _names(column: BoundColumn) -> dict[str, str]:
    return {"table_name": column.table.name.name, "output": column.spec.output}
