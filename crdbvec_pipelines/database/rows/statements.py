"""Statements that read, locate and write the rows of one vector column. `VectorRows` sends them."""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    in_range,
    key_equals,
    key_list,
    outside_ranges,
    placeholder,
    vector_parameter,
)
from crdbvec_pipelines.database.rows.predicates import (
    PendingKind,
    edited_predicate,
    pending_predicate,
    without_deferred,
)
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table
from crdbvec_pipelines.database.updated_at import UpdatedAt


@statement
def read_pending(
    column: ColumnDefinition,
    kind: PendingKind,
    *,
    has_lower: bool,
    has_upper: bool,
    has_after: bool,
    exclude_deferred: bool,
    excluded: Sequence[tuple[bool, bool]] = (),
) -> sql.Composable:
    """Read one page of the pending rows of a key range in key order: key, input, fingerprint.

    `excluded` says of each range to leave out whether it has a lower and an upper bound.
    """
    expressions = InputExpressions(column)
    return sql.SQL(
        "SELECT {key}, {value}, {fingerprint} FROM {table} WHERE {range} AND {pending}{outside} "
        "ORDER BY {key} LIMIT %(limit)s"
    ).format(
        key=key_list(column.table),
        value=expressions.value,
        fingerprint=expressions.fingerprint,
        table=aliased(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper, has_after=has_after),
        pending=without_deferred(column, pending_predicate(column, kind), exclude_deferred=exclude_deferred),
        outside=sql.SQL(" AND {}").format(outside_ranges(column.table, excluded)) if excluded else sql.SQL(""),
    )


@statement
def write_vector(column: ColumnDefinition) -> sql.Composable:
    """Write the vector of one row if its input is unchanged since it was read (compare-and-set, the guarded write)."""
    assignments = [sql.SQL("{} = {}").format(sql.Identifier(column.spec.output), vector_parameter(column))]
    if column.spec.fingerprint_column is not None:
        assignments.append(sql.SQL("{} = %(fingerprint)s::text").format(sql.Identifier(column.spec.fingerprint_column)))
    return sql.SQL("UPDATE {table} SET {assignments} WHERE {key} AND {fingerprint} = %(fingerprint)s::text").format(
        table=aliased(column.table),
        assignments=sql.SQL(", ").join(assignments),
        key=key_equals(column.table),
        fingerprint=InputExpressions(column).fingerprint,
    )


@statement
def clear_vectors(column: ColumnDefinition, *, has_lower: bool, has_upper: bool, only_edited: bool) -> sql.Composable:
    """Clear the vectors of at most `limit` rows of a key range whose input has become blank.

    With `only_edited`, only rows updated at or after `since` are read.
    """
    assignments = [
        sql.SQL("{} = NULL").format(sql.Identifier(name))
        for name in (column.spec.output, column.spec.fingerprint_column)
        if name
    ]
    return sql.SQL(
        "UPDATE {table} SET {assignments} WHERE ({key}) IN "
        "(SELECT {key} FROM {table} WHERE {range} AND {updated} AND {output} IS NOT NULL AND NOT {content} "
        "ORDER BY {key} LIMIT %(limit)s) AND NOT {content}"
    ).format(
        table=aliased(column.table),
        assignments=sql.SQL(", ").join(assignments),
        key=key_list(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
        updated=UpdatedAt(column).is_since if only_edited and column.spec.updated_at else sql.SQL("true"),
        output=reference(column.spec.output),
        content=InputExpressions(column).has_content,
    )


@statement
def has_unembedded(
    column: ColumnDefinition, *, has_lower: bool, has_upper: bool, exclude_deferred: bool
) -> sql.Composable:
    """Return one row if a key range contains a pending row without a vector."""
    return sql.SQL("SELECT 1 FROM {table} WHERE {range} AND {pending} LIMIT 1").format(
        table=aliased(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
        pending=without_deferred(column, pending_predicate(column, "unembedded"), exclude_deferred=exclude_deferred),
    )


@statement
def has_edited(column: ColumnDefinition, *, has_lower: bool, has_upper: bool, exclude_deferred: bool) -> sql.Composable:
    """Return one row if a key range contains a row updated since a time whose vector is stale."""
    return sql.SQL("SELECT 1 FROM {table} WHERE {range} AND {pending} LIMIT 1").format(
        table=aliased(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper),
        pending=without_deferred(column, edited_predicate(column), exclude_deferred=exclude_deferred),
    )


@statement
def locate_keys(table: Table, *, bounds: int, keys: int) -> sql.Composable:
    """Count the given keys by the number of the given bounds that are not greater, in the table's own key order."""
    names = [f"crdbvec_bound_{position}" for position in range(len(table.key))]
    return sql.SQL(
        "SELECT crdbvec_places.crdbvec_place, count(*) FROM ("
        "SELECT (SELECT count(*) FROM (VALUES {bounds}) AS crdbvec_bounds ({names}) WHERE ({key}) >= ({bound})) "
        "AS crdbvec_place FROM {table} WHERE ({key}) IN ({keys})) AS crdbvec_places "
        "GROUP BY crdbvec_places.crdbvec_place"
    ).format(
        bounds=_key_rows(table, "bound", bounds),
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        bound=sql.SQL(", ").join(reference(name, "crdbvec_bounds") for name in names),
        table=aliased(table),
        key=key_list(table),
        keys=_key_rows(table, "key", keys),
    )


def _key_rows(table: Table, prefix: str, count: int) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("({})").format(
            sql.SQL(", ").join(
                placeholder(column, f"{prefix}_{row}_{position}") for position, column in enumerate(table.key)
            )
        )
        for row in range(count)
    )
