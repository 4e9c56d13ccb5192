"""The error for a table without a key: the whole statement that adds one, after a look at the values of its columns."""

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError, TableError
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Column, Table

# Their values identify rows, and are equal if and only if their texts are.
_NUMBERS = frozenset({"int2", "int4", "int8", "uuid"})
_TEXTS = frozenset({"text", "varchar"})
# A longer text is not a key, also if it is unique.
_MAX_KEY_BYTES = 200
# Names such as pandas and ORMs give keys.
_USUAL_NAMES = ("id", "uuid", "key", "index")
# Some seconds for a table with many columns; the primary key itself is checked for all rows when it is added.
_MAX_ROWS = 100_000
_MAX_COLUMNS = 16


@statement
def measure_key_candidates(table: Table) -> sql.Composable:
    """Count rows and, for each column that could be a key, different values and the length; in a part of a table."""
    columns = candidates(table)
    names = [sql.Identifier(f"crdbvec_{number}") for number in range(len(columns))]
    measures = [
        sql.SQL(
            ", count(DISTINCT crdbvec_sample.{0}), coalesce(max(octet_length(crdbvec_sample.{0}::text)), 0)"
        ).format(name)
        for name in names
    ]
    values: list[sql.Composable] = [
        sql.SQL("{} AS {}").format(reference(column.name), name) for column, name in zip(columns, names, strict=True)
    ]
    return sql.SQL("SELECT count(*){} FROM (SELECT {} FROM {} LIMIT %(limit)s::bigint) AS crdbvec_sample").format(
        sql.Composed(measures), sql.SQL(", ").join(values or [sql.SQL("1 AS crdbvec_0")]), aliased(table)
    )


def candidates(table: Table) -> list[Column]:
    """Return the columns that could be a key, the most probable ones first."""
    found = [column for column in table.columns.values() if column.type_name in _NUMBERS | _TEXTS]
    return sorted(found, key=_rank)[:_MAX_COLUMNS]


def _rank(column: Column) -> tuple[int, bool]:
    name = column.name.lower()
    if name in _USUAL_NAMES:
        return _USUAL_NAMES.index(name), False
    return len(_USUAL_NAMES) + (not name.endswith("id")), column.type_name in _TEXTS


def missing_key_error(database: Database, table: Table) -> TableError:
    """Return the error for a table without a key.

    Args:
        database: The open database.
        table: The table, with an empty key.
    """
    start = f"{table.name} has no primary key, which is needed to identify its rows."
    # The key of a partitioned table must contain the columns by which it is partitioned.
    if table.is_partitioned:
        return TableError(f"{start} Add one (ALTER TABLE ... ADD PRIMARY KEY) and run the command again.")
    alter = sql.SQL("ALTER TABLE {}").format(table.identifier).as_string()
    try:
        column, is_part = _unique_column(database, table)
    except DatabaseError:
        # The role may not read the table, which is another error, reported after this one.
        return TableError(f"{start} Run {alter} ADD PRIMARY KEY (...); and then the command again.")
    if column is None:
        name = "id" if "id" not in table.columns else "row_id"
        return TableError(
            f"{start} No column has a different value in each row. Run this statement, which adds a column with "
            f'numbers and rewrites the table, and then the command again: {alter} ADD COLUMN "{name}" BIGINT GENERATED '
            "ALWAYS AS IDENTITY PRIMARY KEY;"
        )
    rows = f"each of the first {_MAX_ROWS:,} rows" if is_part else "each row"
    quoted = sql.Identifier(column).as_string()
    return TableError(
        f"{start} The column {column} has a different value in {rows}. Run this statement, and then the command again: "
        f"{alter} ADD PRIMARY KEY ({quoted});"
    )


def _unique_column(database: Database, table: Table) -> tuple[str | None, bool]:
    """Return the first column that identifies the rows, if there is one, and whether only a part of them was read."""
    columns = candidates(table)
    rows, *measures = database.fetch_one(measure_key_candidates(table), {"limit": _MAX_ROWS})
    for column, distinct, length in zip(columns, measures[::2], measures[1::2], strict=True):
        # NULL is not counted. The columns of an empty table say nothing except by their names.
        if distinct == rows and length <= _MAX_KEY_BYTES and (rows > 1 or column.name.lower() in _USUAL_NAMES):
            return column.name, rows == _MAX_ROWS
    return None, False
