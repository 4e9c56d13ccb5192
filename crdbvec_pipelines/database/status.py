"""How complete a vector column is, also one that does not exist yet. Changes nothing."""

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import InputExpressions
from crdbvec_pipelines.database.introspect import Table, check_column, read_table
from crdbvec_pipelines.database.rows import RowCounts, VectorRows
from crdbvec_pipelines.database.schema import is_prepared
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.keyspace import KeyRange


@statement
def count_unprepared(table: Table, spec: VectorColumn) -> sql.Composable:
    """Rows of a table that lacks the vector column or its fingerprint: all, with a vector, pending, without content."""
    has_vector = sql.Identifier(spec.output) if spec.output in table.columns else sql.SQL("NULL")
    content = InputExpressions(table, spec).has_content
    return sql.SQL(
        "SELECT count(*), count({}), count(*) FILTER (WHERE {}), count(*) FILTER (WHERE NOT {}) FROM {}"
    ).format(has_vector, content, content, table.identifier)


def column_counts(database: Database, spec: VectorColumn, dimension: int, model_id: str) -> RowCounts:
    """Counts a vector column's rows as they are.

    Raises:
        TableError: the table is missing, or cannot carry the column.
    """
    table = read_table(database, spec.table)
    check_column(table, spec, dimension)
    if is_prepared(database, table, spec):
        return VectorRows(database, table, spec, model_id).count(KeyRange())
    return RowCounts(*database.fetch_one(count_unprepared(table, spec)))
