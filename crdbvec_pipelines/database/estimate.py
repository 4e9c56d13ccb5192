"""How large a table is, as cheaply as the server can say."""

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.row_statements import count_table
from crdbvec_pipelines.database.statement import statement


@statement
def estimate_table_rows(dialect: Dialect) -> sql.Composable:
    """The server's own estimate, where it has one."""
    return dialect.estimate_rows or sql.SQL("")


def estimate_rows(database: Database, table: Table) -> int:
    """The server's estimate of a table's rows, or a count where it has none yet."""
    if database.dialect.estimate_rows is not None:
        names = {"schema": table.name.schema, "table": table.name.name}
        ((estimate,),) = database.fetch(estimate_table_rows(database.dialect), names)
        if estimate is not None and estimate > 0:
            return int(estimate)
    return int(database.fetch_one(count_table(table))[0])
