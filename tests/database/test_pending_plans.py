"""How PostgreSQL finds what is pending among many embedded rows: through the indexes made for it, never by a scan."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from crdbvec_pipelines.database import row_statements as statements
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.expressions import fingerprint_seed
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.statement import Statement
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.work import prepare

EMBEDDED = 60_000
PENDING = "passage_passage_vector_pending"
UPDATED = "passage_updated_crdbvec"


@pytest.fixture(scope="module")
def large(postgres: Server) -> Iterator[tuple[VectorRows, psycopg.Connection]]:
    """Many embedded rows under random keys, updated over a year; a hundred new ones, a hundred edited lately."""
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
            (fingerprint_seed(rows.model_id), EMBEDDED),
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
    """The kinds of nodes of a statement's plan, and the indexes it uses on the table."""
    rows, connection = large
    given = {"seed": fingerprint_seed(rows.model_id), **rows.errors.parameters, "limit": 100_000, **parameters}
    ((found,),) = connection.execute(b"EXPLAIN (FORMAT JSON) " + statement.query, given).fetchall()
    nodes = list(_nodes(found[0]["Plan"]))
    of_table = [node for node in nodes if node.get("Relation Name", "passage") == "passage"]
    return {node["Node Type"] for node in of_table}, {node["Index Name"] for node in of_table if "Index Name" in node}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


@pytest.mark.parametrize("waiting", [False, True])
def test_new_rows_are_counted_through_the_partial_index(
    large: tuple[VectorRows, psycopg.Connection], waiting: bool
) -> None:
    rows, _ = large
    kinds, indexes = explain(large, statements.count_missing(rows.table, rows.spec, waiting=waiting))
    assert indexes == {PENDING}
    assert "Seq Scan" not in kinds
    assert rows.count_missing(1_000) == 100


@pytest.mark.parametrize("waiting", [False, True])
def test_new_rows_are_read_through_the_partial_index(
    large: tuple[VectorRows, psycopg.Connection], waiting: bool
) -> None:
    rows, _ = large
    statement = statements.read_pending(
        rows.table, rows.spec, "missing", lower=False, upper=False, after=False, waiting=waiting
    )
    kinds, indexes = explain(large, statement, limit=256)
    assert indexes == {PENDING}
    assert "Seq Scan" not in kinds


def test_whether_a_range_holds_new_rows_is_asked_of_the_partial_index(
    large: tuple[VectorRows, psycopg.Connection],
) -> None:
    rows, _ = large
    statement = statements.has_missing(rows.table, rows.spec, lower=True, upper=True, waiting=False)
    ends = {"lower_0": UUID(int=4 << 124), "upper_0": UUID(int=8 << 124)}
    kinds, indexes = explain(large, statement, **ends)
    assert indexes == {PENDING}
    assert "Seq Scan" not in kinds


@pytest.mark.parametrize("waiting", [False, True])
def test_edited_rows_are_counted_through_the_index_on_the_column_that_says_when(
    large: tuple[VectorRows, psycopg.Connection], waiting: bool
) -> None:
    rows, _ = large
    since = datetime.now(UTC) - timedelta(minutes=10)
    kinds, indexes = explain(large, statements.count_edited(rows.table, rows.spec, waiting=waiting), since=since)
    assert indexes == {UPDATED}
    assert "Seq Scan" not in kinds
    assert rows.count_edited(since, 1_000)[0] == 100


def test_edited_rows_are_read_through_that_index_too(large: tuple[VectorRows, psycopg.Connection]) -> None:
    rows, _ = large
    statement = statements.read_pending(
        rows.table, rows.spec, "edited", lower=False, upper=False, after=False, waiting=False
    )
    since = datetime.now(UTC) - timedelta(minutes=10)
    kinds, indexes = explain(large, statement, limit=256, since=since)
    assert indexes == {UPDATED}
    assert "Seq Scan" not in kinds


def test_texts_that_are_gone_are_found_through_that_index_too(large: tuple[VectorRows, psycopg.Connection]) -> None:
    rows, _ = large
    statement = statements.clear_vectors(rows.table, rows.spec, lower=False, upper=False, edited=True)
    kinds, indexes = explain(large, statement, limit=1_000, since=datetime.now(UTC) - timedelta(minutes=10))
    assert UPDATED in indexes
    assert "Seq Scan" not in kinds
