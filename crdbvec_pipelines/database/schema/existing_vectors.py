"""Vectors that were in the output column before it was first prepared: what becomes of them is the owner's decision.

Such a vector has no fingerprint, so it is not known which input and which model made it. Without a decision nothing is
changed, because embedding all rows again may cost a lot, and keeping foreign vectors makes searches wrong.
"""

from typing import ClassVar

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.expressions import InputExpressions, key_equals_named, key_list, named_key
from crdbvec_pipelines.database.rows.predicates import unknown_origin
from crdbvec_pipelines.database.schema.column_metadata import VECTOR_COLUMNS_TABLE, read_column_metadata
from crdbvec_pipelines.database.statement import statement

_ROWS_PER_STATEMENT = 1_000


class ExistingVectorsError(TableError):
    """The output column contains vectors of unknown origin, and the configuration does not say what to do with them."""

    remedy: ClassVar[str] = (
        "Set existing_vectors (--existing-vectors): `adopt` keeps them as the vectors of the present inputs and model, "
        "`replace` embeds these rows again."
    )


@statement
def has_vector_without_fingerprint(column: ColumnDefinition, *, has_fingerprint: bool) -> sql.Composable:
    """Return one row if a row has a vector and no fingerprint; without a fingerprint column no row has one."""
    return sql.SQL("SELECT 1 FROM {table} WHERE {unknown} LIMIT 1").format(
        table=aliased(column.table), unknown=unknown_origin(column, has_fingerprint=has_fingerprint)
    )


@statement
def adopt_vectors(column: ColumnDefinition) -> sql.Composable:
    """Write the fingerprint of the present input and model for at most `limit` rows with a vector and without one."""
    expressions = InputExpressions(column)
    return sql.SQL(
        "UPDATE {table} SET {stored} = {fingerprint} FROM (SELECT {named} FROM {table} "
        "WHERE {unknown} AND {content} ORDER BY {key} LIMIT %(limit)s) AS crdbvec_chosen WHERE {is_chosen}"
    ).format(
        table=aliased(column.table),
        stored=sql.Identifier(column.spec.fingerprint_column or column.spec.output),
        fingerprint=expressions.fingerprint,
        key=key_list(column.table),
        named=named_key(column.table),
        is_chosen=key_equals_named(column.table, "crdbvec_chosen"),
        unknown=unknown_origin(column, has_fingerprint=True),
        content=expressions.has_content,
    )


def has_existing_vectors(column: BoundColumn, metadata_tables: set[str]) -> bool:
    """Return whether a column that has not been prepared with fingerprints contains vectors without one."""
    spec, table = column.spec, column.table
    if spec.fingerprint_column is None or not column.exists:
        return False
    recorded = read_column_metadata(column.database, table) if VECTOR_COLUMNS_TABLE in metadata_tables else []
    if any(each.output == spec.output and each.fingerprint is not None for each in recorded):
        return False
    query = has_vector_without_fingerprint(column, has_fingerprint=spec.fingerprint_column in table.columns)
    return bool(column.database.fetch(query))


def check_existing_vectors(column: BoundColumn) -> None:
    """Check that the configuration says what becomes of existing vectors, before anything is changed.

    Raises:
        ExistingVectorsError: It does not.
    """
    if column.spec.existing_vectors == "refuse":
        raise ExistingVectorsError(
            f"{column.spec.origin}: the column {column.spec.output} of {column.spec.table} already contains vectors of "
            f"unknown origin. {ExistingVectorsError.remedy}"
        )


def decide_existing_vectors(column: BoundColumn) -> None:
    """Adopt the existing vectors of a changed table, if the configuration says so; otherwise they are stale."""
    if column.spec.existing_vectors != "adopt":
        return
    parameters = {**column.seed, "limit": _ROWS_PER_STATEMENT}
    while column.database.execute(adopt_vectors(column), parameters, column.database.role_path) == _ROWS_PER_STATEMENT:
        pass
