"""CockroachDB's vector index (C-SPANN). Prefix columns keep each tenant's or region's vectors in a tree of their own.

An index serves a search only if every prefix column is pinned by = or IN and nothing else is filtered, but for exactly
the predicate of a partial index.
"""

import re
from collections.abc import Mapping, Sequence

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

# 25.4: vector indexes are generally available, on by default, and built online. Before, building blocked writers, and
# cosine and inner product were missing (25.2).
_FLOOR = 250400

_QUOTED = r"\"(?:[^\"]|\"\")*\""
# One a line of SHOW CREATE TABLE. 25.2 also prints a direction behind each prefix column.
_DEFINITION = re.compile(
    rf"^\s*VECTOR INDEX (?P<name>{_QUOTED}|\S+) \((?P<columns>(?:{_QUOTED}|[^()\"])*)\)"
    r"(?: WITH \((?P<parameters>[^)]*)\))?(?: WHERE (?P<predicate>.*?))?(?: NOT VISIBLE| VISIBILITY [\d.]+)?,?$",
    re.MULTILINE,
)
_COLUMN = re.compile(rf"(?P<name>{_QUOTED}|[^\s,\"]+)(?: (?:ASC|DESC))?(?: (?P<opclass>\w+_ops))?(?:, |$)")
_DEFAULT_OPCLASS = "vector_l2_ops"


class CockroachVectors(VectorSupport):
    """CockroachDB 25.4 or later."""

    effort = Effort("vector_search_beam_size", 32, 2_048, (8, 16, 32, 64, 128, 256, 512))
    has_prefixes = True
    parameters: Mapping[str, int] = {"min_partition_size": 16, "max_partition_size": 128, "build_beam_size": 8}
    names_span_tables = False
    # "When inserting vectors, batching should be avoided", says its documentation, and its own index builder merges
    # three vectors a transaction.
    rows_per_indexed_write = (5, 10)
    searches_within_filters = False

    def __init__(self, version: int) -> None:
        self._version = version

    def check(self, dimension: int) -> None:
        """Older servers embed and search exactly, but get no index."""
        if self._version < _FLOOR:
            raise TableError(
                f"This cluster runs CockroachDB {self._version // 10000}.{self._version // 100 % 100}; before 25.4 its "
                "vector index is in preview and blocks writers while it is built. Upgrade to 25.4 or later for an "
                "index; embedding and exact search work as they are."
            )

    def create(
        self, index: sql.Identifier, table: sql.Identifier, column: sql.Identifier, definition: IndexDefinition
    ) -> sql.Composable:
        """Without the operator class it would be an L2 index, which no cosine search uses."""
        columns = [
            *(sql.Identifier(name) for name in definition.prefix),
            sql.SQL("{} {}").format(column, sql.SQL(definition.operator_class)),
        ]
        return sql.SQL("CREATE VECTOR INDEX IF NOT EXISTS {index} ON {table} ({columns}){parameters}{where}").format(
            index=index,
            table=table,
            columns=sql.SQL(", ").join(columns),
            parameters=with_parameters(definition.parameters),
            where=sql.SQL(" WHERE {} IS NOT NULL").format(column) if definition.is_partial else sql.SQL(""),
        )

    def describe(self, table: sql.Identifier) -> sql.Composable:
        """Only the table's text tells a vector index and its operator class; the catalogues do not."""
        return sql.SQL("SELECT create_statement FROM [SHOW CREATE TABLE {}]").format(table)

    def parse_description(self, rows: Sequence[Sequence[object]], column: str) -> dict[str, IndexDefinition]:
        """`VECTOR INDEX name (prefix, column opclass) [WITH (...)] [WHERE ...]`, one a line."""
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
            )
        return found

    @property
    def progress(self) -> sql.Composable:
        """The schema change job; it outlives the connection that asked for it."""
        return sql.SQL(
            "SELECT fraction_completed::float8 FROM [SHOW JOBS] WHERE job_type = 'NEW SCHEMA CHANGE' "
            "AND status IN ('pending', 'running', 'reverting') "
            "AND strpos(description, %(index)s::text) > 0 AND strpos(description, %(table)s::text) > 0 "
            "ORDER BY created DESC LIMIT 1"
        )

    def table_size(self, table: TableName) -> sql.Composable:
        """Of all its ranges; needs the privilege ZONECONFIG."""
        return sql.SQL("SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM TABLE {} WITH DETAILS]").format(
            sql.Identifier(*table)
        )

    def index_size(self, table: TableName, index: str) -> sql.Composable:
        """Of all its ranges; needs the privilege ZONECONFIG."""
        return sql.SQL("SELECT sum(range_size)::int8 FROM [SHOW RANGES FROM INDEX {}@{} WITH DETAILS]").format(
            sql.Identifier(*table), sql.Identifier(index)
        )

    def settings(self, effort: int | None, *, filtered: bool) -> Settings:
        """The beam: how many partitions are looked at on each level."""
        return {} if effort is None else {self.effort.setting: effort}

    def has_seen_all(self, found: int, effort: int | None) -> bool:
        """Partitions are looked at nearest first; fewer rows than partitions can only be the whole tree."""
        return found < (effort or self.effort.default)

    def uses_index(self, plan: Sequence[str], index: str) -> bool:
        """A node `vector search` over `table@index`, which a partial index is said to be behind its name."""
        quoted = index.replace('"', '""')
        lines = [line.strip(" •│├└─").removesuffix(" (partial index)") for line in plan]
        return "vector search" in lines and any(
            line.startswith("table:") and line.endswith((f"@{index}", f'@"{quoted}"')) for line in lines
        )

    @property
    def slightly_past(self) -> sql.Composable | None:
        """The time at which the nearest replica surely has everything, some 4 seconds ago. It takes no placeholder."""
        return sql.SQL(" AS OF SYSTEM TIME follower_read_timestamp()")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
