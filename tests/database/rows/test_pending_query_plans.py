"""Query plans of PostgreSQL for pending rows among many embedded rows: index scans, never sequential scans."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import count_statements, statements
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.column_metadata import models_of
from crdbvec_pipelines.database.statement import Statement
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.work import prepare

EMBEDDED = 60_000
PENDING = "passage_passage_vector_pending"
UPDATED = "passage_updated_crdbvec"


@pytest.fixture(scope="module")
def large(postgres: Server) -> Iterator[tuple[VectorRows, psycopg.Connection]]:
    """Many embedded rows with random keys, updated over a year; a hundred new ones, a hundred edited recently."""
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE passage (id UUID PRIMARY KEY, passage TEXT, updated TIMESTAMPTZ)")
        rows = prepare(database, column(model="stub_hash", updated_at="updated"))
        connection.execute(
            "INSERT INTO passage (id, passage, updated, passage_vector, passage_vector_fingerprint) "
            "SELECT gen_random_uuid(), 'text ' || n, now() - n * INTERVAL '10 minutes', "
            "'[1,2,3,4,5,6,7,8]', md5(%s || 'text ' || n) FROM generate_series(1, %s) AS n",
            (rows.column.seed["seed"], EMBEDDED),
        )
        connection.execute(
            "INSERT INTO passage SELECT gen_random_uuid(), 'new ' || n, now() FROM generate_series(1, 100) AS n"
        )
        connection.execute(
            "UPDATE passage SET passage = passage || '!', updated = now() "
            "WHERE passage IN (SELECT 'text ' || n FROM generate_series(1, 100) AS n)"
        )
        connection.execute("VACUUM ANALYZE passage")
        yield rows, connection


def explain(
    large: tuple[VectorRows, psycopg.Connection], statement: Statement, **parameters: object
) -> tuple[set[str], set[str]]:
    """Return the node types of a statement's query plan, and the indexes that it uses, for the table."""
    rows, connection = large
    always = {**rows.column.seed, **rows.errors.parameters, "model": models_of(rows.column)}
    values = {**always, "limit": 100_000, "max_bytes": 2**40, **parameters}
    ((found,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement.query, values).fetchall()
    nodes = list(_nodes(found[0]["Plan"]))
    of_table = [node for node in nodes if node.get("Relation Name", "passage") == "passage"]
    return {node["Node Type"] for node in of_table}, {node["Index Name"] for node in of_table if "Index Name" in node}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


@pytest.mark.parametrize("exclude_deferred", [False, True])
def test_count_unembedded_uses_the_partial_index(
    large: tuple[VectorRows, psycopg.Connection], exclude_deferred: bool
) -> None:
    rows, _ = large
    statement = count_statements.count_unembedded(rows.column, exclude_deferred=exclude_deferred)
    kinds, indexes = explain(large, statement)
    assert indexes == {PENDING}
    assert "Seq Scan" not in kinds
    assert rows.count_unembedded(1_000) == 100


@pytest.mark.parametrize("exclude_deferred", [False, True])
def test_read_pending_uses_the_partial_index_for_unembedded_rows(
    large: tuple[VectorRows, psycopg.Connection], exclude_deferred: bool
) -> None:
    rows, _ = large
    statement = statements.read_pending(
        rows.column,
        "unembedded",
        has_lower=False,
        has_upper=False,
        has_after=False,
        exclude_deferred=exclude_deferred,
    )
    kinds, indexes = explain(large, statement, limit=256, max_bytes=2**20)
    assert indexes == {PENDING}
    assert "Seq Scan" not in kinds


def test_has_unembedded_uses_the_partial_index(
    large: tuple[VectorRows, psycopg.Connection],
) -> None:
    rows, _ = large
    statement = statements.has_unembedded(rows.column, has_lower=True, has_upper=True, exclude_deferred=False)
    bounds = {"lower_0": UUID(int=4 << 124), "upper_0": UUID(int=8 << 124)}
    kinds, indexes = explain(large, statement, **bounds)
    assert indexes == {PENDING}
    assert "Seq Scan" not in kinds


@pytest.mark.parametrize("exclude_deferred", [False, True])
def test_count_edited_uses_the_index_on_updated_at(
    large: tuple[VectorRows, psycopg.Connection], exclude_deferred: bool
) -> None:
    rows, _ = large
    since = datetime.now(UTC) - timedelta(minutes=10)
    statement = count_statements.count_edited(rows.column, exclude_deferred=exclude_deferred)
    kinds, indexes = explain(large, statement, since=since)
    assert indexes == {UPDATED}
    assert "Seq Scan" not in kinds
    assert rows.count_edited(since, 1_000)[0] == 100


def test_read_pending_uses_the_index_on_updated_at_for_edited_rows(
    large: tuple[VectorRows, psycopg.Connection],
) -> None:
    rows, _ = large
    statement = statements.read_pending(
        rows.column, "edited", has_lower=False, has_upper=False, has_after=False, exclude_deferred=False
    )
    since = datetime.now(UTC) - timedelta(minutes=10)
    kinds, indexes = explain(large, statement, limit=256, max_bytes=2**20, since=since)
    assert indexes == {UPDATED}
    assert "Seq Scan" not in kinds


def test_rows_to_clear_are_found_by_the_index_on_updated_at(large: tuple[VectorRows, psycopg.Connection]) -> None:
    rows, _ = large
    statement = statements.read_clearable(
        rows.column, has_lower=False, has_upper=False, has_after=False, only_edited=True
    )
    kinds, indexes = explain(large, statement, limit=1_000, since=datetime.now(UTC) - timedelta(minutes=10))
    assert UPDATED in indexes
    assert "Seq Scan" not in kinds
