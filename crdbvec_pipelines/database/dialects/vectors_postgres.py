"""pgvector's HNSW index. It has no prefix columns: a filter is fulfilled by searching on until enough rows do."""

from collections.abc import Sequence
from typing import cast

from psycopg import sql

from crdbvec_pipelines.database.dialects.vectors import (
    Effort,
    IndexDefinition,
    Settings,
    VectorSupport,
    parse_parameters,
    with_parameters,
)
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.naming import TableName

# pgvector's limit for an HNSW index over the type vector.
_MOST_DIMENSIONS = 2_000


class PostgresVectors(VectorSupport):
    """PostgreSQL with pgvector 0.8 or later, which brought iterative scans."""

    effort = Effort("hnsw.ef_search", 40, (10, 20, 40, 80, 160, 320, 640))
    has_prefixes = False
    parameters = frozenset({"m", "ef_construction"})
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
            where=sql.SQL(" WHERE {} IS NOT NULL").format(column) if definition.partial else sql.SQL(""),
        )

    def describe(self, table: sql.Identifier) -> sql.Composable:
        """From the catalogue: name, column, operator class, storage parameters, whether partial."""
        return sql.SQL(
            "SELECT c.relname, a.attname, o.opcname, array_to_string(c.reloptions, ', '), i.indpred IS NOT NULL "
            "FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid "
            "JOIN pg_catalog.pg_am AS m ON m.oid = c.relam AND m.amname IN ('hnsw', 'ivfflat') "
            "JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace "
            "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = ANY(i.indkey) "
            "JOIN pg_catalog.pg_opclass AS o ON o.oid = ANY(i.indclass) "
            "WHERE n.nspname = %(schema)s::text AND t.relname = %(table)s::text AND i.indisvalid"
        )

    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        """One row an index, since these have one column."""
        return {
            str(name): IndexDefinition(str(opclass), (), bool(partial), parse_parameters(cast(str, options or "")))
            for name, attribute, opclass, options, partial in rows
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

    def sizes(self, table: TableName, index: str) -> sql.Composable:
        """Of the table with its indexes and long values, and of the index."""
        return sql.SQL("SELECT pg_total_relation_size({}::regclass), pg_relation_size({}::regclass)").format(
            sql.Literal(sql.Identifier(*table).as_string()),
            sql.Literal(sql.Identifier(table.schema, index).as_string()),
        )

    def settings(self, effort: int | None, *, filtered: bool) -> Settings:
        """With a filter the scan goes on, in strict order of distance, until enough rows fulfil it."""
        settings = {} if effort is None else {self.effort.setting: str(effort)}
        return {**settings, "hnsw.iterative_scan": "strict_order"} if filtered else settings

    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        """`Index Scan using <index>`."""
        names = (f"using {index} ", f'using "{index}" ')
        return any("Index Scan" in line and any(name in line for name in names) for line in plan)

    @property
    def slightly_past(self) -> sql.Composable | None:
        """PostgreSQL reads the present."""
        return None
