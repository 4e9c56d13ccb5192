"""Suspending a vector column: no process embeds its rows until it is resumed. Searches go on.

The time is in the record of the column in `crdbvec_vector_columns`, so that it holds for the command line, for
followers and for the runs of every Dagster instance.
"""

from datetime import datetime
from typing import ClassVar

from psycopg import sql

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError, TableError, is_changed_schema
from crdbvec_pipelines.database.schema.column_metadata import VECTOR_COLUMNS_TABLE
from crdbvec_pipelines.database.statement import Statement, statement
from crdbvec_pipelines.errors import CrdbvecError

_OF_COLUMN = sql.SQL("crdbvec_column.table_name = %(table_name)s::text AND crdbvec_column.output = %(output)s::text")


class ColumnSuspended(CrdbvecError):
    """The vector column is suspended, so none of its rows is embedded."""

    exit_code = 2
    is_retryable = False
    remedy: ClassVar[str] = "Run `crdbvec resume` for the vector column, or launch its job `resume` in Dagster."

    def __init__(self, column: object, since: datetime) -> None:
        super().__init__(f"{column} is {suspended_text(since)}, so none of its rows is embedded. {self.remedy}")


def suspended_text(since: datetime) -> str:
    """Return that a column is suspended, as a part of a sentence."""
    return f"suspended since {since:%Y-%m-%d %H:%M} UTC"


@statement
def set_suspended(schema: str) -> sql.Composable:
    """Suspend a vector column, which keeps the time of an earlier suspension."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_column SET suspended_at = coalesce(crdbvec_column.suspended_at, now()) WHERE {}"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE), _OF_COLUMN)


@statement
def set_resumed(schema: str) -> sql.Composable:
    """Resume a vector column."""
    return sql.SQL("UPDATE {} AS crdbvec_column SET suspended_at = NULL WHERE {}").format(
        sql.Identifier(schema, VECTOR_COLUMNS_TABLE), _OF_COLUMN
    )


@statement
def read_suspended(schema: str) -> sql.Composable:
    """Read since when a vector column is suspended."""
    return sql.SQL("SELECT crdbvec_column.suspended_at AT TIME ZONE 'UTC' FROM {} AS crdbvec_column WHERE {}").format(
        sql.Identifier(schema, VECTOR_COLUMNS_TABLE), _OF_COLUMN
    )


def suspended_since(column: BoundColumn) -> datetime | None:
    """Return since when a vector column is suspended, in UTC without a time zone; None if it is not."""
    try:
        rows = column.database.fetch(read_suspended(column.table.name.schema), _parameters(column))
    except DatabaseError as error:
        # The table was not prepared, or by an earlier release, which could not suspend.
        if not is_changed_schema(error):
            raise
        return None
    return rows[0][0] if rows else None


def suspend(column: BoundColumn) -> None:
    """Suspend a vector column. Processes that embed it end after their current batch.

    Raises:
        TableError: The table is not prepared for the column.
    """
    _change(column, set_suspended(column.table.name.schema))


def resume(column: BoundColumn) -> None:
    """Resume a vector column.

    Raises:
        TableError: The table is not prepared for the column.
    """
    _change(column, set_resumed(column.table.name.schema))


def check_not_suspended(column: BoundColumn) -> None:
    """Check that rows of a vector column may be embedded.

    Raises:
        ColumnSuspended: The column is suspended.
    """
    since = suspended_since(column)
    if since is not None:
        raise ColumnSuspended(column, since)


def _change(column: BoundColumn, change: Statement) -> None:
    try:
        changed = column.database.execute(change, _parameters(column))
    except DatabaseError as error:
        if not is_changed_schema(error):
            raise
        changed = 0
    if not changed:
        raise TableError(
            f"{column.spec.table} is not prepared for the vector column {column.spec.output} by this release, so "
            "there is nothing to suspend or resume. Run `crdbvec embed -n 1` first."
        )


def _parameters(column: BoundColumn) -> dict[str, object]:
    return {"table_name": column.table.name.name, "output": column.spec.output}
