"""Row counts of a vector column, also of one that does not exist yet. Nothing is changed."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.expressions import InputExpressions, follower_read_clause
from crdbvec_pipelines.database.rows.row_counts import RowCounts
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import is_prepared
from crdbvec_pipelines.database.statement import AsOf, follower_read
from crdbvec_pipelines.keyspace import KeyRange


@follower_read
def count_unprepared(column: ColumnDefinition) -> sql.Composable:
    """Count the rows of a table without the vector column or its fingerprint: all, with a vector, pending, blank."""
    has_vector = reference(column.spec.output) if column.exists else sql.SQL("NULL")
    content = InputExpressions(column).has_content
    return sql.SQL(
        "SELECT count(*), count({}), count(*) FILTER (WHERE {}), count(*) FILTER (WHERE NOT {}) FROM {}{}"
    ).format(has_vector, content, content, aliased(column.table), follower_read_clause(column.table))


def column_counts(column: BoundColumn, as_of: AsOf = "now") -> RowCounts:
    """Count the rows of a vector column as they are; the column and the metadata tables need not exist yet.

    Args:
        column: The vector column.
        as_of: The time that the count of the table's rows reads.
    """
    if is_prepared(column):
        return VectorRows(column).count(KeyRange(), as_of)
    return RowCounts(*column.database.fetch_one(count_unprepared(column).as_of(as_of)))
