"""The statements that create, write and clean up a chunk table.

The chunks of a row are replaced by several statements of one transaction: one statement must not modify a table twice
on CockroachDB, and the parameters of a statement are limited to 65,535. The first one takes the lock of the source row,
and every other writer of its chunks needs it.
"""

from psycopg import sql

from crdbvec_pipelines.database.aliases import ROW, aliased, reference
from crdbvec_pipelines.database.chunks.table import END, NUMBER, START, TEXT, chunk_definition, copied_columns
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.expressions import (
    InputExpressions,
    in_range,
    key_equals,
    key_equals_named,
    key_list,
    named_key,
)
from crdbvec_pipelines.database.rows.statements import guard
from crdbvec_pipelines.database.schema.column_metadata import has_own_model
from crdbvec_pipelines.database.statement import ddl_of_several_tables, statement
from crdbvec_pipelines.database.table import Column, Table

CHUNK = "crdbvec_chunk"
"""The alias of the chunk table."""
_GUARDED = "crdbvec_guarded"
_VALUES = "crdbvec_values"


@statement
def create_chunk_table(column: ColumnDefinition, *, has_foreign_key: bool) -> sql.Composable:
    """Create the chunk table. With a foreign key, chunks are deleted with their row and follow a change of its key."""
    chunks = chunk_definition(column)
    columns = [_definition(column, each) for each in chunks.table.columns.values()]
    key = key_list(column.table, None)
    foreign_key = sql.SQL(", FOREIGN KEY ({key}) REFERENCES {table} ({key}) ON DELETE CASCADE ON UPDATE CASCADE")
    return sql.SQL("CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({key}, {number}){foreign_key})").format(
        table=chunks.table.identifier,
        columns=sql.SQL(", ").join(columns),
        key=key,
        number=sql.Identifier(NUMBER),
        foreign_key=foreign_key.format(key=key, table=column.table.identifier) if has_foreign_key else sql.SQL(""),
    )


@statement
def add_marker_column(column: ColumnDefinition) -> sql.Composable:
    """Add the output column of an entry with chunks: the number of chunks of each row, NULL until it is embedded."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} INT8").format(
        column.table.identifier, sql.Identifier(column.spec.output)
    )


@statement
def add_chunk_column(column: ColumnDefinition, chunk_column: Column) -> sql.Composable:
    """Add a column to a chunk table that was created without it: a prefix column of the index, or the text."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}").format(
        chunk_definition(column).table.identifier, sql.Identifier(chunk_column.name), sql.SQL(chunk_column.cast)
    )


@statement
def drop_chunk_column(column: ColumnDefinition, chunk_column: Column) -> sql.Composable:
    """Drop a column of the chunk table that is no longer configured."""
    return sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}").format(
        chunk_definition(column).table.identifier, sql.Identifier(chunk_column.name)
    )


@ddl_of_several_tables
def drop_chunk_table(column: ColumnDefinition) -> sql.Composable:
    """Drop the chunk table. Because of the foreign key, it also locks the source table."""
    return sql.SQL("DROP TABLE IF EXISTS {}").format(chunk_definition(column).table.identifier)


@statement
def reset_chunk_counts(column: ColumnDefinition) -> sql.Composable:
    """Make at most `limit` rows pending whose chunk table is missing, for example because the source was renamed."""
    return sql.SQL(
        "UPDATE {table} SET {output} = NULL FROM (SELECT {named} FROM {table} WHERE {marker} IS NOT NULL "
        "ORDER BY {key} LIMIT %(limit)s) AS crdbvec_chosen WHERE {is_chosen}"
    ).format(
        table=aliased(column.table),
        output=sql.Identifier(column.spec.output),
        marker=reference(column.spec.output),
        named=named_key(column.table),
        key=key_list(column.table),
        is_chosen=key_equals_named(column.table, "crdbvec_chosen"),
    )


@statement
def replace_chunks(column: ColumnDefinition, *, chunks: int) -> sql.Composable:
    """Replace the first chunks of one row, if its input is unchanged since it was read. `count` is that of all."""
    return sql.SQL(
        "WITH {guarded}, crdbvec_written AS ({written} RETURNING 1) SELECT count(*) FROM crdbvec_guarded"
    ).format(guarded=_guarded(column, sql.SQL("")), written=_written_from_guarded(column, chunks))


@statement
def replace_unlocked_chunks(column: ColumnDefinition, *, chunks: int) -> sql.Composable:
    """Replace the first chunks of one row as `replace_chunks`, unless another transaction has locked the row."""
    return sql.SQL(
        "WITH crdbvec_unlocked AS MATERIALIZED "
        "(SELECT 1 FROM {table} WHERE {key} FOR NO KEY UPDATE SKIP LOCKED), {guarded}, "
        "crdbvec_written AS ({written} RETURNING 1) "
        "SELECT (SELECT count(*) FROM crdbvec_unlocked), (SELECT count(*) FROM crdbvec_guarded)"
    ).format(
        table=aliased(column.table),
        key=key_equals(column.table),
        guarded=_guarded(column, sql.SQL(" AND EXISTS (SELECT 1 FROM crdbvec_unlocked)")),
        written=_written_from_guarded(column, chunks),
    )


@statement
def replace_further_chunks(column: ColumnDefinition, *, chunks: int) -> sql.Composable:
    """Replace the chunks of one row from the number `first` on, after `replace_chunks` in the same transaction.

    Of a row that it has not written, because the input has changed, the number of chunks or the input differ. If a
    third process has written the same input in between, its chunks are the same ones.
    """
    condition = sql.SQL("{key} AND {guard} AND {marker} = %(count)s::int8").format(
        key=key_equals(column.table), guard=guard(column), marker=reference(column.spec.output)
    )
    return _written(column, chunks, aliased(column.table), ROW, condition)


@statement
def delete_surplus_chunks(column: ColumnDefinition) -> sql.Composable:
    """Delete the chunks of one row that its former set had and the present one has not."""
    chunks = chunk_definition(column).table
    # On CockroachDB, two columns and their chunk tables are not exchanged at the same moment.
    return sql.SQL(
        "DELETE FROM {chunks} WHERE {key} AND {number} >= (SELECT {marker} FROM {table} WHERE {source_key}) "
        "AND {has_own_model}"
    ).format(
        has_own_model=has_own_model(column),
        chunks=aliased(chunks, CHUNK),
        key=key_equals(column.table, CHUNK),
        number=reference(NUMBER, CHUNK),
        marker=reference(column.spec.output),
        table=aliased(column.table),
        source_key=key_equals(column.table),
    )


@statement
def delete_chunks(column: ColumnDefinition) -> sql.Composable:
    """Delete the chunks of one row that does not exist any more, or has nothing to embed."""
    return sql.SQL("DELETE FROM {chunks} WHERE {key} AND {is_orphan}").format(
        chunks=aliased(chunk_definition(column).table, CHUNK),
        key=key_equals(column.table, CHUNK),
        is_orphan=_is_orphan(column),
    )


@statement
def read_orphaned_chunks(column: ColumnDefinition, *, has_lower: bool, has_upper: bool) -> sql.Composable:
    """Read at most `limit` keys of a key range whose chunks have no row with anything to embed."""
    return sql.SQL("SELECT DISTINCT {key} FROM {chunks} WHERE {range} AND {is_orphan} LIMIT %(limit)s").format(
        key=key_list(column.table, CHUNK),
        chunks=aliased(chunk_definition(column).table, CHUNK),
        range=in_range(column.table, has_lower=has_lower, has_upper=has_upper, alias=CHUNK),
        is_orphan=_is_orphan(column),
    )


def chunk_of_row(table: Table) -> sql.Composable:
    """Return the predicate of the chunks of a row of the source table, whose alias is `aliases.ROW`."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            reference(part.name, CHUNK), table.dialect.operator("=", part.operator_schema), reference(part.name, ROW)
        )
        for part in table.key
    )


def _is_orphan(column: ColumnDefinition) -> sql.Composable:
    return sql.SQL("NOT EXISTS (SELECT 1 FROM {} WHERE {} AND {})").format(
        aliased(column.table), chunk_of_row(column.table), InputExpressions(column).has_content
    )


def _guarded(column: ColumnDefinition, unlocked: sql.Composable) -> sql.Composable:
    """Return the guarded write of the number of chunks, which returns what is copied into the chunks."""
    spec, table = column.spec, column.table
    assignments = [sql.SQL("{} = %(count)s::int8").format(sql.Identifier(spec.output))]
    if spec.fingerprint_column is not None:
        assignments.append(sql.SQL("{} = %(fingerprint)s::text").format(sql.Identifier(spec.fingerprint_column)))
    returned = [*table.key, *copied_columns(column)]
    return sql.SQL(
        "crdbvec_guarded AS (UPDATE {table} SET {assignments} WHERE {key} AND {guard}{unlocked} RETURNING {returned})"
    ).format(
        table=aliased(table),
        assignments=sql.SQL(", ").join(assignments),
        key=key_equals(table),
        guard=guard(column),
        unlocked=unlocked,
        returned=sql.SQL(", ").join(reference(each.name) for each in returned),
    )


def _written_from_guarded(column: ColumnDefinition, chunks: int) -> sql.Composable:
    """Return the insert or update of chunks of a row whose guarded write took effect.

    Without a WHERE clause, ON CONFLICT could be read as the condition of the join.
    """
    return _written(column, chunks, sql.SQL(_GUARDED), _GUARDED, sql.SQL("true"))


def _written(
    column: ColumnDefinition, count: int, source: sql.Composable, alias: str, condition: sql.Composable
) -> sql.Composable:
    """Return the insert or update of `count` chunks from the number `first` on, with values copied from a source."""
    chunks = chunk_definition(column)
    has_text = TEXT in chunks.table.columns
    own = [NUMBER, START, END, column.spec.output, *([TEXT] if has_text else [])]
    copied = [*column.table.key, *copied_columns(column)]
    vector_type = column.table.dialect.vector_object("vector")
    rows = [
        sql.SQL("({})").format(
            sql.SQL(", ").join(
                [
                    sql.SQL("%(first)s::int8 + {}::int8").format(sql.Literal(number)),
                    sql.SQL("{}::int8").format(sql.Placeholder(f"start_{number}")),
                    sql.SQL("{}::int8").format(sql.Placeholder(f"end_{number}")),
                    sql.SQL("{}::{}").format(sql.Placeholder(f"vector_{number}"), vector_type),
                    *([sql.SQL("{}::text").format(sql.Placeholder(f"text_{number}"))] if has_text else []),
                ]
            )
        )
        for number in range(count)
    ]
    names = [f"crdbvec_value_{position}" for position in range(len(own))]
    updated = [*(each.name for each in copied_columns(column)), *own[1:]]
    return sql.SQL(
        "INSERT INTO {table} ({inserted}) SELECT {selected} FROM {source} "
        "CROSS JOIN (VALUES {rows}) AS crdbvec_values ({names}) WHERE {condition} "
        "ON CONFLICT ({key}) DO UPDATE SET {updated}"
    ).format(
        table=chunks.table.identifier,
        inserted=sql.SQL(", ").join(map(sql.Identifier, [*(each.name for each in copied), *own])),
        selected=sql.SQL(", ").join(
            [
                *(reference(each.name, alias) for each in copied),
                *(reference(name, _VALUES) for name in names),
            ]
        ),
        source=source,
        rows=sql.SQL(", ").join(rows),
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        condition=condition,
        key=key_list(chunks.table, None),
        updated=sql.SQL(", ").join(
            sql.SQL("{} = excluded.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in updated
        ),
    )


def _definition(column: ColumnDefinition, part: Column) -> sql.Composable:
    if part.name == column.spec.output:
        kind = column.table.dialect.vector_object(f"VECTOR({column.model.dim})")
        return sql.SQL("{} {} NOT NULL").format(sql.Identifier(part.name), kind)
    not_null = part.name in {each.name for each in column.table.key} | {NUMBER, START, END}
    return sql.SQL("{} {}{}").format(
        sql.Identifier(part.name), sql.SQL(part.cast), sql.SQL(" NOT NULL" if not_null else "")
    )
