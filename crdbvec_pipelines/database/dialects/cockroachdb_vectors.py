"""CockroachDB's vector index (C-SPANN). With prefix columns, each tenant or region has a separate tree of vectors.

The server uses an index for a search only if every prefix column is fixed by = or IN and there is no other filter,
except exactly the predicate of a partial index.
"""

import re
from collections.abc import Mapping, Sequence

from psycopg import sql

from crdbvec_pipelines.database.dialects.vector_support import (
    IndexDefinition,
    SearchEffort,
    Settings,
    VectorSupport,
    parse_parameters,
    parse_predicate,
    with_parameters,
)
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.naming import TableName

# As psycopg encodes 25.4. Since 25.4, vector indexes are generally available, enabled by default and built online.
# Before, a build blocked writers, and cosine and inner product were missing (25.2). Vectors as binary parameters, which
# writes use, exist since 25.3.
MIN_VECTOR_INDEX_VERSION = 250400

_QUOTED = r"\"(?:[^\"]|\"\")*\""
# One per line of SHOW CREATE TABLE. 25.2 also prints a direction after each prefix column.
_DEFINITION = re.compile(
    rf"^\s*VECTOR INDEX (?P<name>{_QUOTED}|\S+) \((?P<columns>(?:{_QUOTED}|[^()\"])*)\)"
    r"(?: WITH \((?P<parameters>[^)]*)\))?(?: WHERE (?P<predicate>.*?))?"
    r"(?P<hidden> NOT VISIBLE| VISIBILITY [\d.]+)?,?$",
    re.MULTILINE,
)
_COLUMN = re.compile(rf"(?P<name>{_QUOTED}|[^\s,\"]+)(?: (?:ASC|DESC))?(?: (?P<opclass>\w+_ops))?(?:, |$)")
_DEFAULT_OPCLASS = "vector_l2_ops"


class CockroachVectors(VectorSupport):
    """The vector index and search of CockroachDB 25.4 or later.

    Args:
        version: The version as psycopg returns it: 260205 for 26.2.5.
    """

    effort = SearchEffort("vector_search_beam_size", 32, 2_048, (8, 16, 32, 64, 128, 256, 512))
    has_prefixes = True
    parameters: Mapping[str, int] = {"min_partition_size": 16, "max_partition_size": 128, "build_beam_size": 8}
    has_schema_wide_index_names = False
    # CockroachDB's documentation: "When inserting vectors, batching should be avoided". Its own index builder merges
    # three vectors per transaction.
    rows_per_indexed_write = (5, 10)
    can_filter_during_index_scan = False

    def __init__(self, version: int) -> None:
        self._version = version

    def check_index_support(self, dimension: int, type_name: str = "vector") -> None:
        """Check the version. Older servers can embed and search exactly, but not build an index."""
        if self._version < MIN_VECTOR_INDEX_VERSION:
            raise TableError(
                f"This cluster runs CockroachDB {self._version // 10000}.{self._version // 100 % 100}; before 25.4 its "
                "vector index is a preview and its build blocks writers. Upgrade to 25.4 or later to build an index. "
                "Embedding and exact search work without an upgrade."
            )

    def create(
        self,
        index: sql.Identifier,
        table: sql.Identifier,
        column: sql.Identifier,
        definition: IndexDefinition,
        schema: str | None = None,
        *,
        is_visible: bool = True,
    ) -> sql.Composable:
        """Return a CREATE VECTOR INDEX with the operator class; without it, the index is an L2 index."""
        columns = [
            *(sql.Identifier(name) for name in definition.prefix),
            sql.SQL("{} {}").format(column, sql.SQL(definition.operator_class)),
        ]
        return sql.SQL(
            "CREATE VECTOR INDEX IF NOT EXISTS {index} ON {table} ({columns}){parameters}{where}{hidden}"
        ).format(
            index=index,
            table=table,
            columns=sql.SQL(", ").join(columns),
            parameters=with_parameters(definition.parameters),
            where=sql.SQL(" WHERE {} IS NOT NULL").format(column) if definition.is_partial else sql.SQL(""),
            hidden=sql.SQL("" if is_visible else " NOT VISIBLE"),
        )

    def drop_online(self, table: TableName, index: str) -> sql.Composable:
        """Return a plain DROP INDEX, because every schema change runs online."""
        return sql.SQL("DROP INDEX IF EXISTS {}@{}").format(sql.Identifier(*table), sql.Identifier(index))

    def rename(self, table: TableName, index: str, new_name: str) -> sql.Composable:
        """Return an ALTER INDEX that names the table."""
        return sql.SQL("ALTER INDEX IF EXISTS {}@{} RENAME TO {}").format(
            sql.Identifier(*table), sql.Identifier(index), sql.Identifier(new_name)
        )

    def show(self, table: TableName, index: str) -> sql.Composable:
        """Return an ALTER INDEX ... VISIBLE."""
        return sql.SQL("ALTER INDEX IF EXISTS {}@{} VISIBLE").format(sql.Identifier(*table), sql.Identifier(index))

    @property
    def hidden_index_settings(self) -> Settings:
        """The setting with which the optimizer considers indexes that are not visible, too."""
        return {"optimizer_use_not_visible_indexes": "on"}

    def describe(self, table: sql.Identifier) -> sql.Composable:
        """Return a SHOW CREATE TABLE, because pg_catalog does not contain the operator class of a vector index."""
        return sql.SQL("SELECT crdbvec_shown.create_statement FROM [SHOW CREATE TABLE {}] AS crdbvec_shown").format(
            table
        )

    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        """Parse lines of the form `VECTOR INDEX name (prefix, column opclass) [WITH (...)] [WHERE ...]`."""
        found = {}
        for match in _DEFINITION.finditer("\n".join(str(row[0]) for row in rows)):
            *prefix, vector = _COLUMN.finditer(match["columns"])
            if _unquoted(vector["name"]) != column:
                continue
            found[_unquoted(match["name"])] = IndexDefinition(
                vector["opclass"] or _DEFAULT_OPCLASS,
                tuple(_unquoted(part["name"]) for part in prefix),
                parse_predicate(match["predicate"], column),
                parse_parameters(match["parameters"] or ""),
                is_visible=match["hidden"] is None,
            )
        return found

    @property
    def progress(self) -> sql.Composable:
        """The query for the schema change job, which continues if the connection that started it ends.

        The list of all jobs shortens descriptions of over 70 characters, so that most names of indexes are not in them.
        The list of selected jobs has whole descriptions: the statement, in which a name is quoted if it must be.
        """
        return sql.SQL(
            "SELECT crdbvec_job.fraction_completed::float8 FROM [SHOW JOBS SELECT crdbvec_listed.job_id "
            "FROM [SHOW JOBS] AS crdbvec_listed WHERE crdbvec_listed.job_type = 'NEW SCHEMA CHANGE' "
            "AND crdbvec_listed.status IN ('pending', 'running', 'reverting')] AS crdbvec_job "
            "WHERE greatest(strpos(crdbvec_job.description, concat(' ', %(index)s::text, ' ON ')), "
            "strpos(crdbvec_job.description, concat('\"', replace(%(index)s::text, '\"', '\"\"'), '\"'))) > 0 "
            "AND strpos(crdbvec_job.description, replace(%(table)s::text, '\"', '\"\"')) > 0 "
            "ORDER BY crdbvec_job.created DESC LIMIT 1"
        )

    def table_size(self, table: TableName) -> sql.Composable:
        """Return the query for the size of all ranges of the table. It needs the privilege ZONECONFIG."""
        return sql.SQL(
            "SELECT sum(crdbvec_range.range_size)::int8 FROM [SHOW RANGES FROM TABLE {} WITH DETAILS] AS crdbvec_range"
        ).format(sql.Identifier(*table))

    def index_size(self, table: TableName, index: str) -> sql.Composable:
        """Return the query for the size of all ranges of the index. It needs the privilege ZONECONFIG."""
        return sql.SQL(
            "SELECT sum(crdbvec_range.range_size)::int8 "
            "FROM [SHOW RANGES FROM INDEX {}@{} WITH DETAILS] AS crdbvec_range"
        ).format(sql.Identifier(*table), sql.Identifier(index))

    def live_records(self, table: TableName, index: str) -> sql.Composable:
        """Return the query for the live bytes and records of one replica, which needs the privilege ZONECONFIG.

        The statistics are those of whole ranges: a range that contains other data too makes them too large.
        """
        return sql.SQL(
            "SELECT sum((crdbvec_range.span_stats->>'live_bytes')::int8)::int8, "
            "sum((crdbvec_range.span_stats->>'live_count')::int8)::int8 "
            "FROM [SHOW RANGES FROM INDEX {}@{} WITH DETAILS] AS crdbvec_range"
        ).format(sql.Identifier(*table), sql.Identifier(index))

    def settings(self, effort: int | None, *, filtered: bool, is_ivfflat: bool = False) -> Settings:
        """Return the beam size: the number of partitions that a search reads on each level."""
        return {} if effort is None else {self.effort.setting: effort}

    def is_exhaustive(self, found: int, effort: int | None) -> bool:
        """Return whether the search found fewer rows than its beam size.

        Each partition that a search reads contains at least one row, so then it has read every partition.
        """
        return found < (effort or self.effort.default)

    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        """Return whether the plan has a node `vector search` on `table@index`, with or without a mark as partial."""
        quoted = index.replace('"', '""')
        lines = [line.strip(" •│├└─").removesuffix(" (partial index)") for line in plan]
        return "vector search" in lines and any(
            line.startswith("table:") and line.endswith((f"@{index}", f'@"{quoted}"')) for line in lines
        )

    @property
    def follower_read_clause(self) -> sql.Composable | None:
        """The clause for the latest time that any replica can serve, about 4 seconds ago. It takes no placeholder."""
        return sql.SQL(" AS OF SYSTEM TIME follower_read_timestamp()")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
