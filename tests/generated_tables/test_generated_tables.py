"""One property over generated tables: every row has the vector of its input, whatever the table looks like.

CRDBVEC_GENERATED_TABLES sets the number of tables; `make stress` runs more of them than `make test`.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from numpy.typing import NDArray
from psycopg import sql

from crdbvec_pipelines.config import PartitionsSpec, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.keyspace import KeyRange, parse_partition_key
from crdbvec_pipelines.partitioning import plan_partitions
from crdbvec_pipelines.refresh.completion import UnsettledRows, refresh_and_settle
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.refresh.rounds import RoundResult
from crdbvec_pipelines.search.searcher import Searcher
from tests.generated_tables.tables import GeneratedTable, Key, generated_tables, tables_with_chunks
from tests.support.chunks import check_chunks_of_keys
from tests.support.models import registry, stub, stub_vector
from tests.support.servers import Server
from tests.support.work import embed, prepare, prepared

# Of a follower of a table that no other process changes.
MAX_ROUNDS = 20
EXAMPLES = int(os.environ.get("CRDBVEC_GENERATED_TABLES", "50"))

pytestmark = pytest.mark.timeout(0 if EXAMPLES > 1_000 else 900)


@pytest.fixture(scope="module")
def shared_url(server: Server) -> Iterator[str]:
    """The URL of a database that all tables share, because creating one takes longer than a test of a table."""
    with server.new_database() as url:
        yield url


# A failing table is not shrunk, which takes minutes with a server.
SETTINGS = settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@SETTINGS
@given(generated_tables())
def test_every_row_has_the_vector_of_its_input(shared_url: str, table: GeneratedTable) -> None:
    with (
        psycopg.connect(shared_url, autocommit=True) as connection,
        table.created(connection),
        Database(shared_url) as database,
    ):
        if table.hindrance != "none":
            check_hindered(database, connection, table)
            return
        before = untouched(connection, table)
        check_embedding(database, connection, table, table.rows)
        table.edit(connection)
        table.insert(connection, table.inserted)
        rows = table.rows_after()
        check_embedding(database, connection, table, rows, follow if table.is_followed else embed)
        check_search(database, table, rows)
        check_partitions(database, table, rows)
        after = untouched(connection, table)
        assert {key: value for key, value in after.items() if key in before} == {
            key: value for key, value in before.items() if key in after
        }


@settings(SETTINGS, max_examples=max(10, EXAMPLES // 5))
@given(tables_with_chunks())
def test_every_row_has_the_chunks_of_its_input(shared_url: str, table: GeneratedTable) -> None:
    with (
        psycopg.connect(shared_url, autocommit=True) as connection,
        table.created(connection),
        Database(shared_url) as database,
    ):
        complete(database, table.column)
        check_chunk_table(connection, table, table.rows)
        table.edit(connection)
        table.insert(connection, table.inserted)
        if table.is_followed:
            follow(database, table.column)
        complete(database, table.column)
        check_chunk_table(connection, table, table.rows_after())
        assert column_counts(prepared(database, table.column)).pending == 0
        again = complete(database, table.column)
        assert (again.rows_read, again.rows_cleared) == (0, 0)


def complete(database: Database, column: VectorColumn) -> RefreshReport:
    """Embed all pending rows as `crdbvec embed` does, and delete the chunks of rows without an input."""
    rows, options = prepare(database, column), options_for(column)
    return refresh_and_settle(rows, registry().encoder_of(column), KeyRange(), options, lambda: None)[0]


def check_chunk_table(
    connection: psycopg.Connection, table: GeneratedTable, rows: Mapping[Key, tuple[Any, ...]]
) -> None:
    """Assert that the chunks are those of a recomputation from the inputs of the rows, and that there are no others."""
    inputs = {key: table.input(values) for key, values in rows.items()}
    texts = {key: value for key, value in inputs.items() if isinstance(value, str)}
    check_chunks_of_keys(connection, table.column, texts, table.keys)


def check_embedding(
    database: Database,
    connection: psycopg.Connection,
    table: GeneratedTable,
    rows: Mapping[Key, tuple[Any, ...]],
    embed_pending: Callable[[Database, VectorColumn], RefreshReport] = embed,
) -> None:
    """Embed the rows, compare each vector with a recomputation, and assert that a second run embeds none."""
    inputs = {key: table.input(values) for key, values in rows.items()}
    counts = column_counts(prepared(database, table.column))
    found = vectors(connection, table)
    expected = {key for key, value in inputs.items() if value is not None and not is_vector_of(found[key], value)}
    assert counts.rows == len(rows)
    assert counts.pending == len(expected)
    report = embed_pending(database, table.column)
    assert (report.rows_embedded, report.rows_failed) == (len(expected), 0)
    found = vectors(connection, table)
    assert found.keys() == inputs.keys()
    for key, value in inputs.items():
        vector = found[key]
        assert (vector is None) if value is None else is_vector_of(vector, value)
    again = embed(database, table.column)
    assert (again.rows_read, again.rows_cleared) == (0, 0)


def check_hindered(database: Database, connection: psycopg.Connection, table: GeneratedTable) -> None:
    """Follow a table whose trigger hinders updates, and embed it: the follower and the run come to rest.

    A further run reads no row. Each row has either the vector of its present input or a recorded failure.
    """
    follow(database, table.column)
    options = options_for(table.column)
    with suppress(UnsettledRows):
        refresh_and_settle(prepare(database, table.column), stub("stub_hash"), KeyRange(), options, lambda: None)
    again = embed(database, table.column)
    assert (again.rows_read, again.rows_cleared) == (0, 0)
    present = select(connection, table, sql.Identifier(next(iter(table.inputs))))
    found = vectors(connection, table)
    if table.hindrance == "discard":
        assert set(found.values()) <= {None}
    with_content = [key for key, values in table.rows.items() if table.input(values) is not None]
    wrong = [key for key in with_content if not is_vector_of(found[key], present[key])]
    assert len(wrong) <= VectorRows(prepared(database, table.column)).errors.count().total


def follow(database: Database, column: VectorColumn) -> RefreshReport:
    """Embed the pending rows as `crdbvec embed --follow` does, until no row is left; in a few rounds."""
    rounds: list[RoundResult] = []
    followed = FollowedColumn(prepare(database, column), registry().encoder_of(column))
    report = Follower(
        [followed], stop=threading.Event(), max_idle=0.05, on_round=lambda _, done: rounds.append(done)
    ).run()
    assert len(rounds) < MAX_ROUNDS
    return report


def check_search(database: Database, table: GeneratedTable, rows: Mapping[Key, tuple[Any, ...]]) -> None:
    """Search for the input of each row: the nearest rows have that input."""
    searcher = Searcher(database, table.column, stub("stub_hash"))
    inputs = {key: table.input(values) for key, values in rows.items()}
    for wanted in sorted({value for value in inputs.values() if isinstance(value, str)})[:3]:
        (result,) = searcher.search_texts([wanted], SearchQuery(limit=1))
        (hit,) = result.hits
        assert hit.distance == pytest.approx(0, abs=1e-5)
        assert list(hit.key) == list(table.keys)
        assert inputs[tuple(hit.key.values())] == wanted


def check_partitions(database: Database, table: GeneratedTable, rows: Mapping[Key, tuple[Any, ...]]) -> None:
    """Divide the table into ranges: each row is in one of them."""
    column = prepared(database, table.column)
    plan = plan_partitions(TableKeys(database, column.table), PartitionsSpec(target_rows=2))
    ranges = [parse_partition_key(key, column.table.name) for key in plan.keys]
    assert sum(VectorRows(column).count(part).rows for part in ranges) == len(rows)


def is_vector_of(vector: NDArray[np.float32] | None, value: object) -> bool:
    return vector is not None and np.array_equal(vector, stub_vector(value))


def vectors(connection: psycopg.Connection, table: GeneratedTable) -> dict[Key, NDArray[np.float32] | None]:
    """Return the vector of each row by key."""
    found = select(connection, table, sql.SQL("{}::TEXT").format(sql.Identifier(table.column.output)))
    return {key: None if text is None else np.array(json.loads(text), np.float32) for key, text in found.items()}


def untouched(connection: psycopg.Connection, table: GeneratedTable) -> dict[Key, Any]:
    """Return the value of each row in the column that belongs to the application alone."""
    return select(connection, table, sql.SQL("untouched"))


def select(connection: psycopg.Connection, table: GeneratedTable, expression: sql.Composable) -> dict[Key, Any]:
    keys = sql.SQL(", ").join(map(sql.Identifier, table.keys))
    found = connection.execute(sql.SQL("SELECT {}, {} FROM {}").format(expression, keys, table.identifier))
    return {tuple(key): value for value, *key in found.fetchall()}
