"""The statements of similarity search. What asks them is `search`."""

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.expressions import InputExpressions, key_list
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.metrics import DISTANCES
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.encoding.contract import Metric


@statement
def nearest_exact(table: Table, spec: VectorColumn, metric: Metric) -> sql.Composable:
    """The `limit` rows nearest to a vector: distance, input, key. Rows without a vector are left out.

    CockroachDB sorts NULL first, so without the filter they would be the nearest of all.
    """
    return sql.SQL(
        "SELECT {output} {operator} %(vector)s::vector AS distance, {value}, {key} FROM {table} "
        "WHERE {output} IS NOT NULL ORDER BY distance LIMIT %(limit)s"
    ).format(
        output=sql.Identifier(spec.output),
        operator=DISTANCES[metric].operator,
        value=InputExpressions(table, spec).value,
        key=key_list(table),
        table=table.identifier,
    )
