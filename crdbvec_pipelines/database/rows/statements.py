"""Statements that read, locate and write the rows of one vector column. `VectorRows` sends them."""

from collections.abc import Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, aliased, reference, unused_name
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    follower_read_clause,
    in_range,
    input_octets,
    key_equals,
    key_equals_named,
    key_list,
    key_operator,
    key_operator_schema,
    named_key,
    outside_ranges,
    placeholder,
    vector_parameter,
)
from crdbvec_pipelines.database.rows.predicates import (
    PendingKind,
    any_pending_predicate,
    edited_predicate,
    pending_predicate,
    without_deferred,
)
from crdbvec_pipelines.database.rows.row_error_statements import key_json
from crdbvec_pipelines.database.schema.column_metadata import has_own_model
from crdbvec_pipelines.database.statement import follower_read, statement
from crdbvec_pipelines.database.table import Table
from crdbvec_pipelines.database.updated_at import UpdatedAt


@follower_read
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
    """Read one page of the pending rows of a key range in key order: key, bytes, input, fingerprint.

    The page ends before its inputs exceed `max_bytes`. The first row that does not fit is returned without input and
    fingerprint. Only the length of an input that is not returned is read, which on PostgreSQL does not load the value.
    The page is empty if the vectors of the column are those of another model since.

    `excluded` says of each range to leave out whether it has a lower and an upper bound.
    """
    table, expressions = column.table, InputExpressions(column)
    names = list(dict.fromkeys([*(part.name for part in table.key), *column.spec.watched_columns]))
    size, total = (unused_name(table, name) for name in ("crdbvec_bytes", "crdbvec_total"))
    fits = sql.SQL("{} <= %(max_bytes)s::bigint").format(reference(total))
    columns = sql.SQL(", ").join(map(reference, names))
    return sql.SQL(
        "SELECT {key}, {size}, CASE WHEN {fits} THEN {value} END, CASE WHEN {fits} THEN {fingerprint} END "
        "FROM (SELECT {columns}, {octets} AS {size_name}, sum({octets}) "
        "OVER (ORDER BY {key} ROWS UNBOUNDED PRECEDING) AS {total_name} FROM ({rows}) AS {row}) AS {row}{past} "
        "WHERE {total} - {size} <= %(max_bytes)s::bigint AND {is_own} ORDER BY {key}"
    ).format(
        key=key_list(table),
        size=reference(size),
        size_name=sql.Identifier(size),
        row=sql.Identifier(ROW),
        fits=fits,
        value=expressions.encoded_value,
        fingerprint=expressions.fingerprint,
        columns=columns,
        octets=input_octets(column),
        total=reference(total),
        is_own=has_own_model(column),
        total_name=sql.Identifier(total),
        past=follower_read_clause(table),
        rows=_pending_rows(
            column,
            columns,
            kind,
            in_range(table, has_lower=has_lower, has_upper=has_upper, has_after=has_after),
            exclude_deferred=exclude_deferred,
            excluded=excluded,
        ),
    )


@follower_read
def read_pending_key(
    column: ColumnDefinition,
    kind: PendingKind,
    *,
    has_lower: bool,
    has_upper: bool,
    has_after: bool,
    exclude_deferred: bool,
    excluded: Sequence[tuple[bool, bool]] = (),
) -> sql.Composable:
    """Return the key as text, and the fingerprint, of the first row that `read_pending` would read."""
    return _pending_rows(
        column,
        sql.SQL("{}, {}").format(
            key_json([reference(part.name) for part in column.table.key]), InputExpressions(column).fingerprint
        ),
        kind,
        in_range(column.table, has_lower=has_lower, has_upper=has_upper, has_after=has_after),
        exclude_deferred=exclude_deferred,
        excluded=excluded,
        is_outermost=True,
    )


def _pending_rows(
    column: ColumnDefinition,
    selected: sql.Composable,
    kind: PendingKind,
    key_range: sql.Composable,
    *,
    exclude_deferred: bool,
    excluded: Sequence[tuple[bool, bool]],
    is_outermost: bool = False,
) -> sql.Composable:
    """Return the query for the first `limit` pending rows of a key range in key order."""
    return sql.SQL(
        "SELECT {selected} FROM {table}{past} WHERE {range} AND {pending}{outside} ORDER BY {key} LIMIT %(limit)s"
    ).format(
        past=follower_read_clause(column.table) if is_outermost else sql.SQL(""),
        selected=selected,
        table=aliased(column.table),
        range=key_range,
        pending=without_deferred(column, pending_predicate(column, kind), exclude_deferred=exclude_deferred),
        outside=sql.SQL(" AND {}").format(outside_ranges(column.table, excluded)) if excluded else sql.SQL(""),
        key=key_list(column.table),
    )


@statement
def read_stored_vectors(column: ColumnDefinition) -> sql.Composable:
    """Return a stored vector, as text, for each of the `fingerprints`; NULL for one that no row with a vector has."""
    return sql.SQL(
        "SELECT crdbvec_wanted.crdbvec_fingerprint, (SELECT {output}::text FROM {table} "
        "WHERE {stored} = crdbvec_wanted.crdbvec_fingerprint AND {output} IS NOT NULL LIMIT 1) "
        "FROM unnest(%(fingerprints)s::text[]) AS crdbvec_wanted (crdbvec_fingerprint)"
    ).format(
        output=reference(column.spec.output),
        table=aliased(column.table),
        stored=reference(column.spec.fingerprint_column or column.spec.output),
    )


@statement
def write_vector(column: ColumnDefinition) -> sql.Composable:
    """Write the vector of one row if its input is unchanged since it was read (compare-and-set, the guarded write)."""
    return sql.SQL("UPDATE {table} SET {assignments} WHERE {key} AND {condition}").format(
        table=aliased(column.table), key=key_equals(column.table), **_vector_update(column)
    )


@statement
def read_pending_fingerprint(column: ColumnDefinition) -> sql.Composable:
    """Return the fingerprint of one row if it is pending, deferred or not, otherwise NULL."""
    return sql.SQL("SELECT (SELECT {fingerprint} FROM {table} WHERE {key} AND {pending})").format(
        fingerprint=InputExpressions(column).fingerprint,
        table=aliased(column.table),
        key=key_equals(column.table),
        pending=any_pending_predicate(column),
    )


@statement
def write_unlocked_vector(column: ColumnDefinition) -> sql.Composable:
    """Write the vector of one row as `write_vector`, unless another transaction has locked the row."""
    return _update_unlocked(column, **_vector_update(column))


@statement
def rewrite_a_vector(column: ColumnDefinition) -> sql.Composable:
    """Write the vector of one unlocked row that has one again; only for a transaction that is rolled back."""
    return sql.SQL(
        "UPDATE {table} SET {name} = {output} FROM (SELECT {named} FROM {table} WHERE {output} IS NOT NULL LIMIT 1 "
        "FOR UPDATE SKIP LOCKED) AS crdbvec_chosen WHERE {is_chosen}"
    ).format(
        table=aliased(column.table),
        name=sql.Identifier(column.spec.output),
        output=reference(column.spec.output),
        named=named_key(column.table),
        is_chosen=key_equals_named(column.table, "crdbvec_chosen"),
    )


def _vector_update(column: ColumnDefinition) -> dict[str, sql.Composable]:
    assignments = [sql.SQL("{} = {}").format(sql.Identifier(column.spec.output), vector_parameter(column))]
    if column.spec.fingerprint_column is not None:
        assignments.append(sql.SQL("{} = %(fingerprint)s::text").format(sql.Identifier(column.spec.fingerprint_column)))
    return {"assignments": sql.SQL(", ").join(assignments), "condition": guard(column)}


def guard(column: ColumnDefinition) -> sql.Composable:
    """Return the condition of a guarded write: the input is the one that was read."""
    # The second part prevents a vector of the old model in the column of a new one, after the two were exchanged.
    return sql.SQL("{} {} %(fingerprint)s::text AND {}").format(
        InputExpressions(column).fingerprint, column.table.dialect.operator("="), has_own_model(column)
    )


@statement
def clear_vector(column: ColumnDefinition) -> sql.Composable:
    """Clear the vector of one row if its input is blank."""
    return sql.SQL("UPDATE {table} SET {assignments} WHERE {key} AND {condition}").format(
        table=aliased(column.table), key=key_equals(column.table), **_clearing_update(column)
    )


@statement
def clear_unlocked_vector(column: ColumnDefinition) -> sql.Composable:
    """Clear the vector of one row as `clear_vector`, unless another transaction has locked the row."""
    return _update_unlocked(column, **_clearing_update(column))


def _clearing_update(column: ColumnDefinition) -> dict[str, sql.Composable]:
    assignments = [
        sql.SQL("{} = NULL").format(sql.Identifier(name))
        for name in (column.spec.output, column.spec.fingerprint_column)
        if name
    ]
    return {"assignments": sql.SQL(", ").join(assignments), "condition": _is_clearable(column)}


def _is_clearable(column: ColumnDefinition) -> sql.Composable:
    return sql.SQL("{} IS NOT NULL AND NOT {}").format(
        reference(column.spec.output), InputExpressions(column).has_content
    )


def _update_unlocked(
    column: ColumnDefinition, assignments: sql.Composable, condition: sql.Composable
) -> sql.Composable:
    """Return the update of one row that is not locked, which returns whether it could be locked and was updated.

    The lock is the one that an UPDATE of columns outside of the key takes, so a row to which another transaction only
    adds a foreign key is not considered locked.
    """
    return sql.SQL(
        "WITH crdbvec_unlocked AS MATERIALIZED "
        "(SELECT 1 FROM {table} WHERE {key} FOR NO KEY UPDATE SKIP LOCKED), "
        "crdbvec_updated AS (UPDATE {table} SET {assignments} WHERE {key} AND {condition} "
        "AND EXISTS (SELECT 1 FROM crdbvec_unlocked) RETURNING 1) "
        "SELECT (SELECT count(*) FROM crdbvec_unlocked), (SELECT count(*) FROM crdbvec_updated)"
    ).format(table=aliased(column.table), key=key_equals(column.table), assignments=assignments, condition=condition)


@statement
def read_clearable(
    column: ColumnDefinition, *, has_lower: bool, has_upper: bool, has_after: bool, only_edited: bool
) -> sql.Composable:
    """Read the keys of a page of rows of a key range that have a vector although their input is blank.

    With `only_edited`, only rows updated at or after `since` are read.
    """
    return sql.SQL(
        "SELECT {key} FROM {table} WHERE {range} AND {updated} AND {clearable} ORDER BY {key} LIMIT %(limit)s"
    ).format(
        key=key_list(column.table),
        table=aliased(column.table),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper, has_after=has_after),
        updated=UpdatedAt(column).is_since if only_edited and column.spec.updated_at else sql.SQL("true"),
        clearable=_is_clearable(column),
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
        "SELECT (SELECT count(*) FROM (VALUES {bounds}) AS crdbvec_bounds ({names}) "
        "WHERE ({key}) {at_least} ({bound})) AS crdbvec_place FROM {table} WHERE {is_given}) AS crdbvec_places "
        "GROUP BY crdbvec_places.crdbvec_place"
    ).format(
        bounds=_key_rows(table, "bound", bounds),
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        bound=sql.SQL(", ").join(reference(name, "crdbvec_bounds") for name in names),
        table=aliased(table),
        key=key_list(table),
        at_least=key_operator(table, ">="),
        is_given=sql.SQL("({}) IN ({})").format(key_list(table), _key_rows(table, "key", keys))
        if key_operator_schema(table) == "pg_catalog"
        else sql.SQL("({}) {} ANY (VALUES {})").format(
            key_list(table), key_operator(table, "="), _key_rows(table, "key", keys)
        ),
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
