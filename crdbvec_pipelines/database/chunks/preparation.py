"""The schema changes of a chunk table: which of them are needed, and what becomes of rows whose chunks are lost."""

import logging
from collections.abc import Iterator

from crdbvec_pipelines.database.chunks.statements import (
    add_chunk_column,
    create_chunk_table,
    drop_chunk_column,
    reset_chunk_counts,
)
from crdbvec_pipelines.database.chunks.table import (
    TEXT,
    chunk_definition,
    chunk_table_name,
    has_chunk_table,
    read_chunk_columns,
)
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.database.schema.ddl import change_schema
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.database.table import Column

logger = logging.getLogger(__name__)

_ROWS_PER_STATEMENT = 1_000


def chunk_table_changes(column: BoundColumn) -> Iterator[Statement]:
    """Yield the statements that create the chunk table or change its columns; none if it is as configured."""
    existing = read_chunk_columns(column.database, column.spec)
    if not existing:
        yield create_chunk_table(column, has_foreign_key=True)
        return
    wanted = chunk_definition(column).table.columns
    for name, part in wanted.items():
        if name not in existing:
            yield add_chunk_column(column, part)
    if TEXT in existing and TEXT not in wanted:
        yield drop_chunk_column(column, Column(TEXT, "text", "text", -1))


def forget_lost_chunks(column: BoundColumn) -> None:
    """Make the rows pending that were embedded, if the chunk table does not exist (any more).

    It may have been dropped, or the source table was renamed. Nothing is done if no row was embedded.
    """
    if has_chunk_table(column) or not column.exists:
        return
    parameters, settings = {"limit": _ROWS_PER_STATEMENT}, column.database.role_path
    while column.database.execute(reset_chunk_counts(column), parameters, settings) == _ROWS_PER_STATEMENT:
        pass


def has_created_chunk_table(column: BoundColumn, ddl: Statement, error: DatabaseError) -> bool:
    """Create the chunk table without a foreign key if the server rejects one; return whether it is there now.

    Args:
        column: The vector column.
        ddl: The statement that failed.
        error: Its error.
    """
    if ddl.name != create_chunk_table.__name__ or isinstance(error, DatabaseUnavailable):
        return False
    logger.info(
        "%s has no foreign key to %s, because the server rejects it (SQLSTATE %s); chunks of deleted rows are removed "
        "by the next refresh.",
        chunk_table_name(column.spec),
        column.spec.table,
        error.sqlstate,
    )
    change_schema(column.database, create_chunk_table(column, has_foreign_key=False))
    return True
