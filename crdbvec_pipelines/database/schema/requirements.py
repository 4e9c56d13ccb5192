"""What is checked before a table is changed, so that no change is made to a table that rejects a later one.

What can be decided from the columns alone is checked in `database.table`.
"""

from typing import NamedTuple

from psycopg import sql

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.errors import DatabaseError, TableError
from crdbvec_pipelines.database.statement import statement

# The header of a page and of a row, the length of a reference to a vector outside of the row, and a fingerprint.
_PAGE_HEADER_BYTES = 32
_ROW_HEADER_BYTES = 24
_VECTOR_REFERENCE_BYTES = 18
_FINGERPRINT_BYTES = 33


class TableFacts(NamedTuple):
    """What decides whether a table can be changed.

    Attributes:
        is_partition: Whether it is a partition of another table.
        is_typed: Whether its columns are those of a composite type.
        is_temporary: Whether only the session that created it can use it.
        has_children: Whether other tables inherit from it.
        is_owner: Whether the role may change it.
        role: The role.
        can_create: Whether the role may create tables in its schema.
        columns: The number of its columns, dropped ones included.
        fixed_bytes: The length of the columns of a fixed length that are never NULL.
        page_bytes: The length of a page, which contains whole rows; 0 if rows have no such limit.
    """

    is_partition: bool
    is_typed: bool
    is_temporary: bool
    has_children: bool
    is_owner: bool
    role: str
    can_create: bool
    columns: int
    fixed_bytes: int
    page_bytes: int


@statement
def read_table_facts(dialect: Dialect) -> sql.Composable:
    """Read what decides whether a table can be changed."""
    return dialect.table_facts


@statement
def use_time_zone() -> sql.Composable:
    """Use a time zone, which fails if the server does not have it."""
    return sql.SQL("SELECT now() AT TIME ZONE %(zone)s::text")


def check_requirements(column: BoundColumn, added_columns: int) -> None:
    """Check that a table can be changed and used.

    Args:
        column: The vector column.
        added_columns: The number of columns that are missing.

    Raises:
        TableError: The table, or the role, does not permit it. Nothing has been changed.
    """
    spec = column.spec
    parameters = {"oid": column.table.oid}
    facts = TableFacts(*column.database.fetch_one(read_table_facts(column.database.dialect), parameters))
    problem = _unsupported(column, facts) or (_not_addable(column, facts, added_columns) if added_columns else None)
    if problem is None and spec.manage_schema:
        problem = _not_permitted(facts)
    if problem is not None:
        raise TableError(f"{spec.origin}: {spec.table} {problem}")
    if spec.updated_at_timezone is not None:
        try:
            column.database.fetch_one(use_time_zone(), {"zone": spec.updated_at_timezone})
        except DatabaseError as error:
            if error.sqlstate is None:
                raise
            raise TableError(
                f"{spec.origin}: the server has no time zone {spec.updated_at_timezone}, which updated_at_timezone "
                "names. Write a name of the IANA time zone database."
            ) from error


def _unsupported(column: BoundColumn, facts: TableFacts) -> str | None:
    """Return why the table cannot be used, as the end of a sentence, and what to do."""
    if facts.is_temporary:
        return "is a temporary table, which only the session that created it can use. Create a permanent table."
    if facts.has_children:
        return (
            "has tables that inherit from it, among whose rows its primary key is not unique. "
            "Name one of these tables, or use a partitioned table."
        )
    if column.table.is_partitioned and column.spec.index is not None:
        return (
            "is a partitioned table, on which a vector index cannot be built without blocking writers. "
            "Remove index from the entry, or name one of its partitions."
        )
    return None


def _not_addable(column: BoundColumn, facts: TableFacts, added: int) -> str | None:
    """Return why no column can be added to the table, as the end of a sentence, and what to do."""
    if facts.is_partition:
        return "is a partition, to which no column can be added. Name the partitioned table."
    if facts.is_typed:
        return (
            "is a typed table, to which no column can be added. Add the missing columns to its type, or remove the "
            "type with ALTER TABLE ... NOT OF."
        )
    limit = column.database.dialect.max_columns
    if limit is not None and facts.columns + added > limit:
        return (
            f"has {facts.columns:,} of the {limit:,} columns that a table can have (dropped columns count too), so "
            f"{added} cannot be added. Create the table again without the dropped columns, or use another table with "
            "the same key."
        )
    row = _ROW_HEADER_BYTES + facts.columns // 8 + facts.fixed_bytes + _VECTOR_REFERENCE_BYTES + _FINGERPRINT_BYTES
    if facts.page_bytes and row > facts.page_bytes - _PAGE_HEADER_BYTES:
        return (
            f"has rows of at least {facts.fixed_bytes:,} bytes, which with a vector do not fit in a page of "
            f"{facts.page_bytes:,} bytes. Use another table with the same key."
        )
    return None


def _not_permitted(facts: TableFacts) -> str | None:
    """Return which privilege the role does not have, as the end of a sentence, and what to do."""
    remedy = "set manage_schema: false and let the owner run the statements that are then listed."
    if not facts.is_owner:
        return f"can only be changed by its owner, which the role {facts.role} is not. Run as the owner, or {remedy}"
    if not facts.can_create:
        return (
            f"is in a schema in which the role {facts.role} must not create tables and indexes. "
            f"Grant it CREATE on the schema, or {remedy}"
        )
    return None
