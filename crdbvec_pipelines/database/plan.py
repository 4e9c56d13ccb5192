"""What a plan needs to know of a table: why rows are pending, and what a sample of them looks like. Changes nothing."""

from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.catalogue import kept_columns
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import InputExpressions, fingerprint_seed, key_list
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.row_statements import any_pending_predicate, pending_predicate
from crdbvec_pipelines.database.schema import is_prepared
from crdbvec_pipelines.database.statement import statement


@dataclass(frozen=True)
class PendingReasons:
    """A table's rows by what a refresh would do with them.

    Attributes:
        rows: all rows.
        embedded: rows with a fresh vector.
        never_embedded: pending, without a vector.
        edited: pending, their input (or the template) changed since.
        other_model: pending, their vector made by another model or revision.
        blank: rows with nothing to embed.
        distinct: different inputs among the pending rows; equal ones are encoded once.
    """

    rows: int
    embedded: int
    never_embedded: int
    edited: int
    other_model: int
    blank: int
    distinct: int

    @property
    def pending(self) -> int:
        """All pending rows."""
        return self.never_embedded + self.edited + self.other_model

    @property
    def duplicates(self) -> int:
        """Pending rows whose input another pending row has too."""
        return self.pending - self.distinct


@statement
def count_reasons(table: Table, spec: VectorColumn, *, prepared: bool, earlier: int) -> sql.Composable:
    """Counts rows by why they are pending; `earlier` models' fingerprints tell another model from an edit."""
    expressions = InputExpressions(table, spec)
    missing = pending_predicate(table, spec, "missing") if prepared else expressions.has_content
    stale = pending_predicate(table, spec, "stale") if prepared else sql.SQL("false")
    pending = any_pending_predicate(table, spec) if prepared else expressions.has_content
    other: sql.Composable = sql.SQL("false")
    if prepared and earlier and spec.fingerprint_column is not None:
        hashes = [
            sql.SQL("md5({}::text || {})").format(sql.Placeholder(f"earlier_{number}"), expressions.text)
            for number in range(earlier)
        ]
        other = sql.SQL("{} IN ({})").format(sql.Identifier(spec.fingerprint_column), sql.SQL(", ").join(hashes))
    return sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE {missing}), count(*) FILTER (WHERE {stale}), "
        "count(*) FILTER (WHERE {stale} AND {other}), count(*) FILTER (WHERE NOT {content}), "
        "count(DISTINCT {fingerprint}) FILTER (WHERE {pending}) FROM {table}"
    ).format(
        missing=missing,
        stale=stale,
        other=other,
        content=expressions.has_content,
        fingerprint=expressions.fingerprint,
        pending=pending,
        table=table.identifier,
    )


@statement
def sample_pending(table: Table, spec: VectorColumn, *, prepared: bool) -> sql.Composable:
    """The inputs of at most `size` pending rows, evenly spread over their keys."""
    expressions = InputExpressions(table, spec)
    return sql.SQL(
        "SELECT {value} FROM {table} WHERE ({key}) IN (SELECT {key} FROM ("
        "SELECT {key}, row_number() OVER (ORDER BY {key}) AS place, count(*) OVER () AS total "
        "FROM {table} WHERE {pending}) AS pending_rows "
        "WHERE (place - 1) % div(total + %(size)s::bigint - 1, %(size)s::bigint) = 0)"
    ).format(
        value=expressions.value,
        table=table.identifier,
        key=key_list(table),
        pending=any_pending_predicate(table, spec) if prepared else expressions.has_content,
    )


def pending_reasons(database: Database, table: Table, spec: VectorColumn, model_id: str) -> PendingReasons:
    """Counts a table's rows by why they are pending; reads the whole table on the server."""
    prepared = is_prepared(database, table, spec)
    kept = kept_columns(database, table) if prepared else []
    earlier = [model for column in kept if column.output == spec.output for model in column.models if model != model_id]
    seeds = {f"earlier_{number}": fingerprint_seed(model) for number, model in enumerate(earlier)}
    rows, missing, stale, other, blank, distinct = database.fetch_one(
        count_reasons(table, spec, prepared=prepared, earlier=len(earlier)),
        {"seed": fingerprint_seed(model_id), **seeds},
    )
    return PendingReasons(
        rows=rows,
        embedded=rows - blank - missing - stale,
        never_embedded=missing,
        edited=stale - other,
        other_model=other,
        blank=blank,
        distinct=distinct,
    )


def sample_inputs(database: Database, table: Table, spec: VectorColumn, model_id: str, size: int) -> list[object]:
    """The inputs of at most `size` pending rows, spread over the table."""
    statement = sample_pending(table, spec, prepared=is_prepared(database, table, spec))
    return [value for (value,) in database.fetch(statement, {"seed": fingerprint_seed(model_id), "size": size})]
