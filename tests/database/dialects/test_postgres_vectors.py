"""pgvector's vector index: statements, catalog, query plans, and limits."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors
from crdbvec_pipelines.database.dialects.vector_support import IndexDefinition
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.naming import TableName
from tests.support.servers import Server

SUPPORT = PostgresVectors()


@pytest.fixture
def connection(postgres: Server) -> Iterator[psycopg.Connection]:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as opened:
        opened.execute("CREATE EXTENSION vector")
        opened.execute('CREATE TABLE t (id INT8 PRIMARY KEY, tenant TEXT, v VECTOR(3), "my ""v""" VECTOR(3))')
        yield opened


def run(connection: psycopg.Connection, query: sql.Composable, **parameters: str) -> psycopg.Cursor[Any]:
    return connection.execute(sql.Composed([query]), parameters)


def described(connection: psycopg.Connection, column: str) -> dict[str, IndexDefinition]:
    query = SUPPORT.describe(sql.Identifier("public", "t"))
    rows = run(connection, query, schema="public", table="t").fetchall()
    return SUPPORT.parse_description(rows, column)


def create(connection: psycopg.Connection, name: str, column: str, definition: IndexDefinition) -> None:
    run(connection, SUPPORT.create(sql.Identifier(name), sql.Identifier("t"), sql.Identifier(column), definition))


@pytest.mark.parametrize("column", ["v", 'my "v"'])
@pytest.mark.parametrize(
    "definition",
    [
        IndexDefinition("vector_cosine_ops"),
        IndexDefinition("vector_l2_ops", predicate=None),
        IndexDefinition("vector_ip_ops", parameters={"m": 8, "ef_construction": 32}),
    ],
    ids=lambda definition: definition.operator_class,
)
def test_created_index_is_read_back(connection: psycopg.Connection, column: str, definition: IndexDefinition) -> None:
    create(connection, 'i "1"', column, definition)
    assert described(connection, column) == {'i "1"': definition}


def test_indexes_of_other_methods_and_over_a_cast_are_described(connection: psycopg.Connection) -> None:
    connection.execute("CREATE INDEX lists ON t USING ivfflat (v vector_l2_ops) WITH (lists = 2)")
    connection.execute("CREATE INDEX halves ON t USING hnsw ((v::halfvec(3)) halfvec_cosine_ops)")
    connection.execute('CREATE INDEX other ON t USING hnsw (("my ""v"""::halfvec(3)) halfvec_cosine_ops)')
    assert described(connection, "v") == {
        "lists": IndexDefinition("vector_l2_ops", predicate=None, parameters={"lists": 2}, is_ivfflat=True),
        "halves": IndexDefinition("halfvec_cosine_ops", predicate=None, cast="halfvec(3)"),
    }
    assert set(described(connection, 'my "v"')) == {"other"}
    assert described(connection, "v")["halves"].distance_class == "vector_cosine_ops"


def test_indexes_of_other_kinds_and_columns_are_ignored(connection: psycopg.Connection) -> None:
    create(connection, "ours", "v", IndexDefinition("vector_cosine_ops"))
    create(connection, "of_another_column", 'my "v"', IndexDefinition("vector_cosine_ops"))
    connection.execute("CREATE INDEX plain ON t (tenant)")
    connection.execute("CREATE INDEX norms ON t (vector_norm(v))")
    connection.execute("CREATE INDEX bits ON t USING hnsw ((binary_quantize(v)::bit(3)) bit_hamming_ops)")
    connection.execute("CREATE INDEX parts ON t USING hnsw ((subvector(v, 1, 2)::halfvec(2)) halfvec_cosine_ops)")
    assert set(described(connection, "v")) == {"ours"}


def test_index_over_some_rows_does_not_contain_every_vector(connection: psycopg.Connection) -> None:
    connection.execute("CREATE INDEX i ON t USING hnsw (v vector_cosine_ops) WHERE tenant = 'a' AND v IS NOT NULL")
    (found,) = described(connection, "v").values()
    assert found.predicate == "((tenant = 'a'::text) AND (v IS NOT NULL))"
    assert found.is_partial
    assert not found.contains_every_vector


def test_invalid_index_is_ignored(connection: psycopg.Connection) -> None:
    create(connection, "i", "v", IndexDefinition("vector_cosine_ops"))
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass")
    assert described(connection, "v") == {}


@pytest.mark.parametrize("name", ["i", 'i "1"', "I", "select"])
def test_uses_index_recognizes_an_index_scan(connection: psycopg.Connection, name: str) -> None:
    create(connection, name, "v", IndexDefinition("vector_cosine_ops", predicate=None))
    connection.execute("INSERT INTO t SELECT n, 'a', ARRAY[n, 1, 2]::VECTOR FROM generate_series(1, 50) AS n")
    connection.execute("SET enable_seqscan = off")

    def query_plan(order: str) -> list[str]:
        query = f"EXPLAIN SELECT id FROM (SELECT id, v FROM t ORDER BY {order} LIMIT 5) AS nearest ORDER BY id"
        return [row[0] for row in connection.execute(query.encode())]

    index_scan, exact_scan = query_plan("v <=> '[1,2,3]'"), query_plan("(v <=> '[1,2,3]') + 0")
    assert SUPPORT.uses_index(index_scan, name)
    assert not SUPPORT.uses_index(index_scan, "another")
    assert not SUPPORT.uses_index(index_scan, name[:-1])
    assert not SUPPORT.uses_index(exact_scan, name)


def test_uses_index_ignores_scans_of_other_indexes() -> None:
    plan = ["Limit  (cost=0.1..1.0 rows=10 width=16)", "  ->  Index Scan using t_pkey on t  (cost=0.1..1.0 rows=1)"]
    assert not SUPPORT.uses_index(plan, "t_v_index")


def test_more_than_2000_dimensions_are_rejected() -> None:
    SUPPORT.check_index_support(2_000)
    with pytest.raises(
        TableError, match=r"supports at most 2000 dimensions, and the model's vectors have 2001\. Search without"
    ):
        SUPPORT.check_index_support(2_001)


def test_server_has_the_same_limit_of_dimensions(connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE wide (a VECTOR(2000), b VECTOR(2001))")
    connection.execute("CREATE INDEX ON wide USING hnsw (a vector_l2_ops)")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="2000 dimensions"):
        connection.execute("CREATE INDEX ON wide USING hnsw (b vector_l2_ops)")


@pytest.mark.parametrize("effort", [1, SUPPORT.effort.default, SUPPORT.effort.largest, *SUPPORT.effort.choices])
def test_server_accepts_the_settings_of_a_search(connection: psycopg.Connection, effort: int) -> None:
    connection.execute("SELECT '[1]'::VECTOR")
    for name, value in SUPPORT.settings(effort, filtered=True).items():
        connection.execute(f"SET {name} = '{value}'".encode())
    assert connection.execute("SHOW hnsw.ef_search").fetchone() == (str(effort),)
    assert connection.execute("SHOW hnsw.iterative_scan").fetchone() == ("relaxed_order",)


def test_default_and_limit_of_ef_search_are_the_servers(connection: psycopg.Connection) -> None:
    connection.execute("SELECT '[1]'::VECTOR")
    found = connection.execute(
        "SELECT boot_val, max_val FROM pg_settings WHERE name = %s", (SUPPORT.effort.setting,)
    ).fetchone()
    assert found == (str(SUPPORT.effort.default), str(SUPPORT.effort.largest))


def test_settings_are_empty_without_effort_and_filter() -> None:
    assert SUPPORT.settings(None, filtered=False) == {}


def test_sizes_are_those_of_the_server(connection: psycopg.Connection) -> None:
    create(connection, "i", "v", IndexDefinition("vector_cosine_ops"))
    table, index = TableName("public", "t"), "i"
    sizes = [
        run(connection, query).fetchone() for query in (SUPPORT.table_size(table), SUPPORT.index_size(table, index))
    ]
    expected = [
        connection.execute(f"SELECT pg_{kind}_size('{name}')".encode()).fetchone()
        for kind, name in (("total_relation", "t"), ("relation", "i"))
    ]
    assert sizes == expected


def test_search_is_never_exhaustive() -> None:
    assert not SUPPORT.is_exhaustive(0, None)


def test_there_is_no_follower_read_clause() -> None:
    assert SUPPORT.follower_read_clause is None
