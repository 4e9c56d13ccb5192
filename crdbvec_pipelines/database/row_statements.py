"""The statements that read and write the rows of one vector column. What sends them is `rows`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.error_statements import not_waiting
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    in_range,
    key_equals,
    key_list,
    placeholder,
)
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.statement import statement

PendingKind = Literal["missing", "stale", "edited"]
"""Which pending rows: those without a vector, those whose fingerprint no longer matches, and of these those updated
lately. Only `stale` has to look at every row of a range; the others go through an index."""


@dataclass(frozen=True)
class Pass:
    """One way through a key range. `since` belongs to `edited`: rows updated at or after it."""

    kind: PendingKind
    since: datetime | None = None


def missing_predicate(table: Table, spec: VectorColumn) -> sql.Composable:
    """The partial index's predicate. Queries repeat it word for word, or the index is not used."""
    return sql.SQL("{} IS NULL AND {}").format(sql.Identifier(spec.output), InputExpressions(table, spec).is_present)


def pending_predicate(table: Table, spec: VectorColumn, kind: PendingKind) -> sql.Composable:
    """Whether a row is pending for one reason."""
    expressions = InputExpressions(table, spec)
    if kind == "missing":
        return sql.SQL("{} AND {}").format(missing_predicate(table, spec), expressions.has_content)
    if spec.fingerprint_column is None:
        return sql.SQL("false")
    stale = sql.SQL("{} IS NOT NULL AND {} AND {} IS DISTINCT FROM {}").format(
        sql.Identifier(spec.output),
        expressions.has_content,
        sql.Identifier(spec.fingerprint_column),
        expressions.fingerprint,
    )
    if kind == "edited" and spec.updated_at is not None:
        return sql.SQL("{} >= %(since)s::timestamptz AND {}").format(sql.Identifier(spec.updated_at), stale)
    return stale


def any_pending_predicate(table: Table, spec: VectorColumn) -> sql.Composable:
    """Whether a row is pending at all."""
    return sql.SQL("({} OR {})").format(
        pending_predicate(table, spec, "missing"), pending_predicate(table, spec, "stale")
    )


@statement
def read_pending(
    table: Table, spec: VectorColumn, kind: PendingKind, *, lower: bool, upper: bool, after: bool, waiting: bool
) -> sql.Composable:
    """One page of pending rows of a key range in key order: key, input, fingerprint.

    `waiting` leaves out the rows that failed and whose next try is still ahead.
    """
    expressions = InputExpressions(table, spec)
    return sql.SQL(
        "SELECT {key}, {value}, {fingerprint} FROM {table} WHERE {range} AND {pending} ORDER BY {key} LIMIT %(limit)s"
    ).format(
        key=key_list(table),
        value=expressions.value,
        fingerprint=expressions.fingerprint,
        table=table.identifier,
        range=in_range(table, lower=lower, upper=upper, after=after),
        pending=_without_waiting(table, spec, pending_predicate(table, spec, kind), waiting=waiting),
    )


@statement
def write_vector(table: Table, spec: VectorColumn) -> sql.Composable:
    """The guarded write of one row: it takes effect only where the input is still the one that was read."""
    assignments = [sql.SQL("{} = %(vector)s::vector").format(sql.Identifier(spec.output))]
    if spec.fingerprint_column is not None:
        assignments.append(sql.SQL("{} = %(fingerprint)s::text").format(sql.Identifier(spec.fingerprint_column)))
    return sql.SQL("UPDATE {table} SET {assignments} WHERE {key} AND {fingerprint} = %(fingerprint)s::text").format(
        table=table.identifier,
        assignments=sql.SQL(", ").join(assignments),
        key=key_equals(table),
        fingerprint=InputExpressions(table, spec).fingerprint,
    )


@statement
def clear_vectors(table: Table, spec: VectorColumn, *, lower: bool, upper: bool, edited: bool) -> sql.Composable:
    """Takes the vector from up to `limit` rows of a key range whose input is gone, so that none outlives its text.

    `edited` looks only at rows updated at or after `since`.
    """
    assignments = [
        sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in (spec.output, spec.fingerprint_column) if name
    ]
    return sql.SQL(
        "UPDATE {table} SET {assignments} WHERE ({key}) IN "
        "(SELECT {key} FROM {table} WHERE {range} AND {lately} AND {output} IS NOT NULL AND NOT {content} "
        "ORDER BY {key} LIMIT %(limit)s) AND NOT {content}"
    ).format(
        table=table.identifier,
        assignments=sql.SQL(", ").join(assignments),
        key=key_list(table),
        range=in_range(table, lower=lower, upper=upper),
        lately=sql.SQL("{} >= %(since)s::timestamptz").format(sql.Identifier(spec.updated_at))
        if edited and spec.updated_at
        else sql.SQL("true"),
        output=sql.Identifier(spec.output),
        content=InputExpressions(table, spec).has_content,
    )


@statement
def count_rows(table: Table, spec: VectorColumn, *, lower: bool, upper: bool, waiting: bool) -> sql.Composable:
    """Rows of a key range: all, with a vector, pending, without content."""
    return sql.SQL(
        "SELECT count(*), count({output}), count(*) FILTER (WHERE {pending}), count(*) FILTER (WHERE NOT {content}) "
        "FROM {table} WHERE {range}"
    ).format(
        output=sql.Identifier(spec.output),
        pending=_without_waiting(table, spec, any_pending_predicate(table, spec), waiting=waiting),
        content=InputExpressions(table, spec).has_content,
        table=table.identifier,
        range=in_range(table, lower=lower, upper=upper),
    )


@statement
def count_missing(table: Table, spec: VectorColumn, *, waiting: bool) -> sql.Composable:
    """How many rows of a table have no vector, counted through the partial index and no further than `limit`."""
    return sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {pending} LIMIT %(limit)s) AS missing").format(
        table=table.identifier,
        pending=_without_waiting(table, spec, pending_predicate(table, spec, "missing"), waiting=waiting),
    )


def edited_predicate(table: Table, spec: VectorColumn) -> sql.Composable:
    """Whether a row updated lately has a vector that is not that of its input, which may be gone."""
    expressions = InputExpressions(table, spec)
    return sql.SQL(
        "{updated} >= %(since)s::timestamptz AND {output} IS NOT NULL "
        "AND (NOT {content} OR {stored} IS DISTINCT FROM {fingerprint})"
    ).format(
        updated=sql.Identifier(spec.updated_at or spec.output),
        output=sql.Identifier(spec.output),
        content=expressions.has_content,
        stored=sql.Identifier(spec.fingerprint_column or spec.output),
        fingerprint=expressions.fingerprint,
    )


@statement
def count_edited(table: Table, spec: VectorColumn, *, waiting: bool) -> sql.Composable:
    """How many rows updated lately have an outdated vector, no further than `limit`, and since when the first of them.

    Through updated_at's index.
    """
    return sql.SQL(
        "SELECT count(*), min(updated)::timestamptz FROM "
        "(SELECT {updated} AS updated FROM {table} WHERE {pending} LIMIT %(limit)s) AS edited"
    ).format(
        updated=sql.Identifier(spec.updated_at or spec.output),
        table=table.identifier,
        pending=_without_waiting(table, spec, edited_predicate(table, spec), waiting=waiting),
    )


@statement
def has_missing(table: Table, spec: VectorColumn, *, lower: bool, upper: bool, waiting: bool) -> sql.Composable:
    """A row if a key range holds any row without a vector."""
    return sql.SQL("SELECT 1 FROM {table} WHERE {range} AND {pending} LIMIT 1").format(
        table=table.identifier,
        range=in_range(table, lower=lower, upper=upper),
        pending=_without_waiting(table, spec, pending_predicate(table, spec, "missing"), waiting=waiting),
    )


@statement
def has_edited(table: Table, spec: VectorColumn, *, lower: bool, upper: bool, waiting: bool) -> sql.Composable:
    """A row if a key range holds any row that was updated lately and has an outdated vector."""
    return sql.SQL("SELECT 1 FROM {table} WHERE {range} AND {pending} LIMIT 1").format(
        table=table.identifier,
        range=in_range(table, lower=lower, upper=upper),
        pending=_without_waiting(table, spec, edited_predicate(table, spec), waiting=waiting),
    )


@statement
def locate_keys(table: Table, *, bounds: int, keys: int) -> sql.Composable:
    """How many of some keys lie behind how many of some bounds; by the table's own order of keys."""
    return sql.SQL(
        "SELECT place, count(*) FROM ("
        "SELECT (SELECT count(*) FROM (VALUES {bounds}) AS bounds ({names}) WHERE {owner} >= ({names})) AS place "
        "FROM {table} AS located WHERE ({key}) IN ({keys})) AS places GROUP BY place"
    ).format(
        bounds=_key_rows(table, "bound", bounds),
        names=sql.SQL(", ").join(sql.Identifier(f"bound_{position}") for position in range(len(table.key))),
        owner=sql.SQL("({})").format(
            sql.SQL(", ").join(sql.Identifier("located", column.name) for column in table.key)
        ),
        table=table.identifier,
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


def _without_waiting(table: Table, spec: VectorColumn, pending: sql.Composable, *, waiting: bool) -> sql.Composable:
    return sql.SQL("{} AND {}").format(pending, not_waiting(table, spec)) if waiting else pending


@statement
def slice_bounds(table: Table, spec: VectorColumn, *, lower: bool, upper: bool, waiting: bool) -> sql.Composable:
    """The first key of each of `slices` equal shares of a key range's pending rows, after how many there are."""
    # div(), since `/` between integers makes a decimal on CockroachDB.
    return sql.SQL(
        "SELECT total, {key} FROM ("
        "SELECT {key}, row_number() OVER (ORDER BY {key}) AS place, count(*) OVER () AS total "
        "FROM {table} WHERE {range} AND {pending}) AS pending_rows "
        "WHERE (place - 1) % div(total + %(slices)s::bigint - 1, %(slices)s::bigint) = 0 ORDER BY {key}"
    ).format(
        key=key_list(table),
        table=table.identifier,
        range=in_range(table, lower=lower, upper=upper),
        pending=_without_waiting(table, spec, any_pending_predicate(table, spec), waiting=waiting),
    )


@statement
def key_at_stride(table: Table, *, start: bool) -> sql.Composable:
    """The key `stride` rows behind a key, or behind the first one; no row where the table ends before."""
    return sql.SQL("SELECT {key} FROM {table} WHERE {range} ORDER BY {key} LIMIT 1 OFFSET %(stride)s::bigint").format(
        key=key_list(table), table=table.identifier, range=in_range(table, lower=start, upper=False)
    )


@statement
def first_and_last_key(table: Table) -> sql.Composable:
    """The smallest and the largest key, of a key of one column."""
    return sql.SQL(
        "(SELECT {key} FROM {table} ORDER BY {key} LIMIT 1) UNION ALL "
        "(SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1)"
    ).format(key=key_list(table), table=table.identifier)


@statement
def count_table(table: Table) -> sql.Composable:
    """All rows of a table, where the server has no estimate."""
    return sql.SQL("SELECT count(*) FROM {}").format(table.identifier)
