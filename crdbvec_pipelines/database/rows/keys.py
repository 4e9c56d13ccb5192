"""Primary keys of a table, read for partitioning: how many there are, the first and last, every n-th."""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.expressions import bound_parameters, in_range, key_list, placeholder
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table
from crdbvec_pipelines.keyspace import Bound, KeyValue


@statement
def estimate_table_rows(dialect: Dialect) -> sql.Composable:
    """Return the server's own estimate of a table's rows, if the server has one."""
    return dialect.row_estimate or sql.SQL("")


@statement
def count_table(table: Table) -> sql.Composable:
    """Count all rows of a table, for a server without an estimate."""
    return sql.SQL("SELECT count(*) FROM {}").format(table.identifier)


@statement
def first_and_last_key(table: Table) -> sql.Composable:
    """Return the smallest and the largest value of a key of one column."""
    return sql.SQL(
        "(SELECT {key} FROM {table} ORDER BY {key} LIMIT 1) UNION ALL "
        "(SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1)"
    ).format(key=key_list(table), table=table.identifier)


@statement
def key_at_stride(table: Table, *, has_start: bool) -> sql.Composable:
    """Return the key `stride` rows after a key or after the first one; no row if the table ends before it."""
    return sql.SQL("SELECT {key} FROM {table} WHERE {range} ORDER BY {key} LIMIT 1 OFFSET %(stride)s::bigint").format(
        key=key_list(table), table=table.identifier, range=in_range(table, has_lower=has_start, has_upper=False)
    )


@statement
def sort_bounds(table: Table, bounds: int) -> sql.Composable:
    """Sort a number of bounds in key order; returns their positions in the parameters `bound_<position>_<column>`.

    The selection of no row gives the columns their names and collations.
    """
    rows = [
        sql.SQL("({})").format(
            sql.SQL(", ").join(
                [
                    sql.Literal(position),
                    *(placeholder(column, f"bound_{position}_{number}") for number, column in enumerate(table.key)),
                ]
            )
        )
        for position in range(bounds)
    ]
    return sql.SQL(
        "SELECT crdbvec_position FROM (SELECT 0 AS crdbvec_position, {key} FROM {table} WHERE false "
        "UNION ALL VALUES {rows}) AS crdbvec_bounds ORDER BY {key}"
    ).format(key=key_list(table), table=table.identifier, rows=sql.SQL(", ").join(rows))


class TableKeys:
    """The primary keys of one table on an open database."""

    def __init__(self, database: Database, table: Table) -> None:
        self.table = table
        self._database = database

    def estimate_rows(self) -> int:
        """Return the approximate number of rows: the server's estimate, or a count if it has none yet."""
        dialect = self._database.dialect
        if dialect.row_estimate is not None:
            names = {"schema": self.table.name.schema, "table": self.table.name.name}
            ((estimate,),) = self._database.fetch(estimate_table_rows(dialect), names)
            if estimate is not None and estimate > 0:
                return int(estimate)
        return int(self._database.fetch_one(count_table(self.table))[0])

    def first_and_last(self) -> tuple[KeyValue, ...]:
        """Return the smallest and the largest value of a key of one column; empty for an empty table."""
        return tuple(value for (value,) in self._database.fetch(first_and_last_key(self.table)))

    def at_stride(self, start: Bound | None, stride: int) -> Bound | None:
        """Return the key `stride` rows after the key `start`, or after the first row if `start` is None.

        Returns:
            The key; None if the table ends before it.
        """
        query = key_at_stride(self.table, has_start=start is not None)
        found = self._database.fetch(query, {**bound_parameters("lower", start), "stride": stride})
        return found[0] if found else None

    def in_order(self, bounds: Sequence[Bound]) -> list[Bound]:
        """Return bounds in key order."""
        if len(bounds) < 2:
            return list(bounds)
        parameters: dict[str, object] = {}
        for position, bound in enumerate(bounds):
            parameters |= bound_parameters(f"bound_{position}", bound)
        found = self._database.fetch(sort_bounds(self.table, len(bounds)), parameters)
        return [bounds[position] for (position,) in found]
