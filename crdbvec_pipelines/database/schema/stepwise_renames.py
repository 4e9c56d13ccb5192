"""The renames of an exchange on a server without transactions of several schema changes.

They can be interrupted at any moment: the catalog shows which are done, because a rename changes neither the number of
a column nor what identifies a table.
"""

from crdbvec_pipelines.database.chunks.table import chunk_table_name
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.column_objects import OwnTable, OwnTables, in_order, interim_name
from crdbvec_pipelines.database.schema.migration_statements import column_number, rename_columns, rename_table
from crdbvec_pipelines.database.schema.migrations import Migration
from crdbvec_pipelines.database.table import Table, read_table, read_table_oid
from crdbvec_pipelines.naming import TableName


def rename_in_steps(database: Database, migration: Migration, table: Table, *, back: bool) -> None:
    """Rename what is not renamed yet: the columns of the table together, then each chunk table and its column.

    Args:
        database: The database.
        migration: The migration, in whose phase neither column is used.
        table: The table of the columns.
        back: Whether the vectors of the old model become those of the column of the entry again.

    Raises:
        DatabaseUnavailable: The connection was lost; the last statement may have taken effect.
    """
    entries = migration.entries
    found = database.fetch(column_number(), {"oid": table.oid, "column": migration.output})
    is_exchanged = [row[0] for row in found] != [migration.first_column]
    if is_exchanged == back:
        source = OwnTables(OwnTable(table, entries[0]), OwnTable(table, entries[1]))
        for each, renames in source.column_renames():
            database.execute_once(rename_columns(each, renames))
    if migration.first_chunk_table is not None:
        _rename_chunk_tables(database, migration, migration.first_chunk_table, back=back)


def _rename_chunk_tables(database: Database, migration: Migration, first_chunk_table: int, *, back: bool) -> None:
    first, second = migration.entries
    schema, names = migration.table.schema, [chunk_table_name(entry).name for entry in (first, second)]
    of_old, of_new = names if back else reversed(names)
    wanted = {}
    for name in (*names, interim_name(names[0])):
        oid = read_table_oid(database, TableName(schema, name))
        if oid is not None:
            wanted[name] = of_old if oid == first_chunk_table else of_new
    for old, new in in_order(wanted):
        database.execute_once(rename_table(schema, old, new))
    for own, other in ((first, second), (second, first)):
        chunks = read_table(database, chunk_table_name(own))
        if own.output not in chunks.columns:
            database.execute_once(rename_columns(chunks, [(other.output, own.output)]))
