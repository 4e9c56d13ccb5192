"""Primary keys of a table, read for partitioning: how many there are, the first and last, every n-th."""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.expressions import (
    bound_parameters,
    follower_read_clause,
    in_range,
    key_list,
    key_operator,
    placeholder,
)
from crdbvec_pipelines.database.statement import follower_read, statement
from crdbvec_pipelines.database.table import Column, Table
from crdbvec_pipelines.keyspace import Bound, KeyValue

# The texts and bytes of a bound are shortened if one of them is longer. Shorter ones are whole keys, which say more.
_MAX_WHOLE_LENGTH = 40


@statement
def estimate_table_rows(dialect: Dialect) -> sql.Composable:
    """Return the server's own estimate of a table's rows, if the server has one."""
    return dialect.row_estimate or sql.SQL("")


@follower_read
def count_table(table: Table) -> sql.Composable:
    """Count all rows of a table, for a server without an estimate."""
    return sql.SQL("SELECT count(*) FROM {}{}").format(aliased(table), follower_read_clause(table))


@statement
def first_and_last_key(table: Table) -> sql.Composable:
    """Return the smallest and the largest value of the first key column; NULL for an empty table."""
    return sql.SQL(
        "SELECT (SELECT {first} FROM {table} ORDER BY {first} LIMIT 1), "
        "(SELECT {first} FROM {table} ORDER BY {first} DESC LIMIT 1)"
    ).format(first=reference(table.key[0].name), table=aliased(table))


@follower_read
def key_at_stride(table: Table, *, has_start: bool) -> sql.Composable:
    """Return the key `stride` rows after a key or after the first one; no row if the table ends before it."""
    return sql.SQL(
        "SELECT {key} FROM {table}{past} WHERE {range} ORDER BY {key} LIMIT 1 OFFSET %(stride)s::bigint"
    ).format(
        key=key_list(table),
        table=aliased(table),
        past=follower_read_clause(table),
        range=in_range(table, has_lower=has_start, has_upper=False),
    )


@statement
def separating_prefix(table: Table, key_column: Column) -> sql.Composable:
    """Return the shortest prefix of a key column's value that is above another value, in the order of the column.

    The parameters are `value` and `previous`. The selection of no row gives the prefixes the column's collation.
    """
    as_type = sql.SQL("bytea" if key_column.is_bytes else "text")
    value = sql.SQL("{}::{}").format(sql.Placeholder("value"), as_type)
    length = sql.SQL("crdbvec_lengths.crdbvec_length")
    prefix = sql.SQL("substring({} FROM 1 FOR {})" if key_column.is_bytes else "left({}, {})").format(value, length)
    found = reference("crdbvec_prefix", "crdbvec_prefixes")
    return sql.SQL(
        "SELECT {found} FROM (SELECT {name} AS crdbvec_prefix FROM {table} WHERE false UNION ALL "
        "SELECT ({prefix})::{cast} FROM generate_series(1, length({value})) AS crdbvec_lengths (crdbvec_length)) "
        "AS crdbvec_prefixes WHERE {found} {above} {previous} AND {found} {up_to} {typed} "
        "ORDER BY length({found}::{type}) LIMIT 1"
    ).format(
        found=found,
        name=reference(key_column.name),
        table=aliased(table),
        value=value,
        prefix=prefix,
        type=as_type,
        cast=sql.SQL(key_column.cast),
        previous=placeholder(key_column, "previous"),
        typed=placeholder(key_column, "value"),
        above=key_operator(table, ">"),
        up_to=key_operator(table, "<="),
    )


@statement
def sort_bounds(table: Table, bounds: int) -> sql.Composable:
    """Sort a number of bounds in key order; returns their positions in the parameters `bound_<position>_<column>`.

    The selection of no row gives the columns their collations.
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
    names = [f"crdbvec_key_{number}" for number in range(len(table.key))]
    return sql.SQL(
        "SELECT crdbvec_bounds.crdbvec_position FROM (SELECT 0, {key} FROM {table} WHERE false "
        "UNION ALL VALUES {rows}) AS crdbvec_bounds (crdbvec_position, {names}) ORDER BY {order}"
    ).format(
        key=key_list(table),
        table=aliased(table),
        rows=sql.SQL(", ").join(rows),
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        order=sql.SQL(", ").join(reference(name, "crdbvec_bounds") for name in names),
    )


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
        return int(self._database.fetch_one(count_table(self.table).as_of("follower_read"))[0])

    def first_and_last(self) -> tuple[KeyValue, ...]:
        """Return the smallest and the largest value of a key of one column; empty for an empty table."""
        first, last = self._database.fetch_one(first_and_last_key(self.table))
        return () if first is None else (first, last)

    def bound_at_stride(self, start: Bound | None, stride: int) -> Bound | None:
        """Return a bound between the keys `stride - 1` and `stride` rows after `start`, or after the first row.

        It is the latter key, unless that is long: then its texts and bytes are shortened as far as possible.

        Returns:
            The bound; None if the table ends before it.
        """
        key = self.at_stride(start, stride)
        if key is None or not any(
            self._is_long(column, value) for column, value in zip(self.table.key, key, strict=True)
        ):
            return key
        previous = self.at_stride(start, stride - 1)
        return key if previous is None else self._between(previous, key)

    def _between(self, previous: Bound, key: Bound) -> Bound:
        """Return a short bound above one key and up to another one."""
        first = next(position for position, value in enumerate(key) if value != previous[position])
        column, value = self.table.key[first], key[first]
        if self._is_long(column, value):
            found = self._database.fetch(
                separating_prefix(self.table, column), {"value": value, "previous": previous[first]}
            )
            value = found[0][0] if found else value
        # The values after the first one that differs do not matter, so the smallest one is enough.
        rest = [
            ("" if of.is_text else b"") if self._is_long(of, other) else other
            for of, other in zip(self.table.key[first + 1 :], key[first + 1 :], strict=True)
        ]
        return (*key[:first], value, *rest)

    @staticmethod
    def _is_long(column: Column, value: KeyValue) -> bool:
        """Return whether to shorten a value: a long text or bytes, and of no domain, which may reject a prefix."""
        is_cuttable = (column.is_text or column.is_bytes) and not column.is_domain
        return is_cuttable and isinstance(value, (str, bytes)) and len(value) > _MAX_WHOLE_LENGTH

    def at_stride(self, start: Bound | None, stride: int) -> Bound | None:
        """Return the key `stride` rows after the key `start`, or after the first row if `start` is None.

        Returns:
            The key; None if the table ends before it.
        """
        # The bounds of a partition need not be exact, so rows of the last seconds may be missing.
        query = key_at_stride(self.table, has_start=start is not None).as_of("follower_read")
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
