"""pgvector's HNSW index. It has no prefix columns: a filter is fulfilled by searching on until enough rows do."""

from collections.abc import Mapping, Sequence
from typing import cast

from psycopg import sql

from crdbvec_pipelines.database.dialects.vectors import (
    Effort,
    IndexDefinition,
    Settings,
    VectorSupport,
    parse_parameters,
    parse_predicate,
    with_parameters,
)
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.naming import TableName

# pgvector's limit for an HNSW index over the type vector.
_MOST_DIMENSIONS = 2_000


class PostgresVectors(VectorSupport):
    """PostgreSQL with pgvector 0.8 or later, which brought iterative scans."""

    effort = Effort("hnsw.ef_search", 40, 1_000, (10, 20, 40, 80, 160, 320, 640))
    has_prefixes = False
    parameters: Mapping[str, int] = {"m": 16, "ef_construction": 64}
    names_span_tables = True
    rows_per_indexed_write = (100, 500)
    searches_within_filters = True

    def check(self, dimension: int) -> None:
        """HNSW takes up to 2,000 dimensions."""
        if dimension > _MOST_DIMENSIONS:
            raise TableError(
                f"pgvector's HNSW index takes up to {_MOST_DIMENSIONS} dimensions, and the model makes {dimension}; "
                "search works without an index (--exact)."
            )

    def create(
        self, index: sql.Identifier, table: sql.Identifier, column: sql.Identifier, definition: IndexDefinition
    ) -> sql.Composable:
        """CONCURRENTLY, since a plain build blocks writers. NULL vectors are never in an HNSW index anyway."""
        return sql.SQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {table} "
            "USING hnsw ({column} {opclass}){parameters}{where}"
        ).format(
            index=index,
            table=table,
            column=column,
            opclass=sql.SQL(definition.operator_class),
            parameters=with_parameters(definition.parameters),
            where=sql.SQL(" WHERE {} IS NOT NULL").format(column) if definition.is_partial else sql.SQL(""),
        )

    def describe(self, table: sql.Identifier) -> sql.Composable:
        """From the catalogue: name, column, operator class, storage parameters, predicate."""
        return sql.SQL(
            "SELECT c.relname, a.attname, o.opcname, array_to_string(c.reloptions, ', '), "
            "pg_get_expr(i.indpred, i.indrelid) "
            "FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid "
            "JOIN pg_catalog.pg_am AS m ON m.oid = c.relam AND m.amname = 'hnsw' "
            "JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace "
            "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = ANY(i.indkey) "
            "JOIN pg_catalog.pg_opclass AS o ON o.oid = ANY(i.indclass) "
            "WHERE n.nspname = %(schema)s::text AND t.relname = %(table)s::text AND i.indisvalid"
        )

    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        """One row an index, since these have one column."""
        return {
            str(name): IndexDefinition(
                str(opclass),
                (),
                parse_predicate(cast("str | None", predicate), column),
                parse_parameters(cast(str, options or "")),
            )
            for name, attribute, opclass, options, predicate in rows
            if attribute == column
        }

    @property
    def progress(self) -> sql.Composable:
        """Pgvector counts blocks while it scans the table; on a small table it is too quick to be seen."""
        return sql.SQL(
            "SELECT coalesce(greatest(p.blocks_done::float8 / nullif(p.blocks_total, 0), "
            "p.tuples_done::float8 / nullif(p.tuples_total, 0)), 0) "
            "FROM pg_catalog.pg_stat_progress_create_index AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.index_relid "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %(schema)s::text AND c.relname = %(index)s::text"
        )

    def table_size(self, table: TableName) -> sql.Composable:
        """With its indexes and long values."""
        return sql.SQL("SELECT pg_total_relation_size({}::regclass)").format(
            sql.Literal(sql.Identifier(*table).as_string())
        )

    def index_size(self, table: TableName, index: str) -> sql.Composable:
        """Of the index's own pages."""
        return sql.SQL("SELECT pg_relation_size({}::regclass)").format(
            sql.Literal(sql.Identifier(table.schema, index).as_string())
        )

    def settings(self, effort: int | None, *, filtered: bool) -> Settings:
        """With a filter the scan goes on until enough rows fulfil it.

        In relaxed order, since strict order drops near rows that come late: measured, recall at 400 was 0.997 against
        0.990. Every search is sorted outside of the scan.
        """
        settings: Settings = {} if effort is None else {self.effort.setting: effort}
        return {**settings, "hnsw.iterative_scan": "relaxed_order"} if filtered else settings

    def has_seen_all(self, found: int, effort: int | None) -> bool:
        """Never sure: the candidates may be dead versions of rows, and not every row is reached through the graph."""
        return False

    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        """`Index Scan using <index>`."""
        quoted = index.replace('"', '""')
        names = (f"using {index} ", f'using "{quoted}" ')
        return any("Index Scan" in line and any(name in line for name in names) for line in plan)

    @property
    def slightly_past(self) -> sql.Composable | None:
        """PostgreSQL reads the present."""
        return None
