"""Follower reads: which statements read the recent past, and which must read the present.

PostgreSQL has none, so the clause of CockroachDB is a comment there, or a clause that it rejects.
"""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database, Parameters, Row
from crdbvec_pipelines.database.dialects import CockroachDialect
from crdbvec_pipelines.database.dialects.cockroachdb_vectors import CockroachVectors
from crdbvec_pipelines.database.dialects.postgres_vectors import PostgresVectors
from crdbvec_pipelines.database.dialects.vector_support import Settings
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.database.rows.pending_reasons import pending_reasons, sample_inputs
from crdbvec_pipelines.database.rows.range_state import range_state
from crdbvec_pipelines.database.statement import Statement, follower_reads
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import complete_range, refresh_and_settle
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.rounds import follow_round
from tests.database import ledger
from tests.support.models import registry
from tests.support.servers import Server
from tests.support.tables import column, create_table
from tests.support.work import prepare, prepared

SPEC = column(model="stub_hash")
# Searches, which have the clause if the caller asks for it.
SEARCHES = ("nearest_exact", "nearest_indexed", "keyword_matches", "nearest_chunks_exact", "nearest_chunks_indexed")
CLAUSE = " AS OF SYSTEM TIME follower_read_timestamp()"


class RecordingDatabase(Database):
    """A database that records the names of the queries, and of those that read the past."""

    def __init__(self, url: str) -> None:
        self.sent: list[tuple[str, bool]] = []
        super().__init__(url)

    def fetch(
        self, statement: Statement, parameters: Parameters | None = None, settings: Settings | None = None
    ) -> list[Row]:
        self.sent.append((statement.name, statement.present is not None))
        return super().fetch(statement, parameters, settings)

    def times(self, name: str) -> list[bool]:
        """Return whether each query of a name was a follower read, and forget all queries."""
        found = [is_past for each, is_past in self.sent if each == name]
        self.sent.clear()
        return found


@pytest.fixture
def database(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingDatabase]:
    monkeypatch.setattr(PostgresVectors, "follower_read_clause", sql.SQL(f" /*{CLAUSE} */"))
    with postgres.new_database() as url, RecordingDatabase(url) as opened:
        with psycopg.connect(url, autocommit=True) as connection:
            create_table(connection, texts=[f"text {number}" for number in range(20)])
        yield opened


def test_embedding_reads_its_first_pages_in_the_past_and_counts_in_the_present(database: RecordingDatabase) -> None:
    rows = prepare(database, SPEC)
    report, counts = refresh_and_settle(rows, registry().load(SPEC.model), KeyRange(), options_for(SPEC), lambda: None)
    assert (report.rows_embedded, counts.pending) == (20, 0)
    sent = list(database.sent)
    assert set(database.times("read_pending")) == {True}
    database.sent = sent
    assert database.times("count_rows") == [False]


def test_a_second_pass_finds_the_rows_that_were_too_new_for_the_first(
    database: RecordingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the past, no row is pending.
    monkeypatch.setattr(PostgresVectors, "follower_read_clause", sql.SQL(" CROSS JOIN (SELECT 1 WHERE false) AS past"))
    rows = prepare(database, SPEC)
    report, counts = refresh_and_settle(rows, registry().load(SPEC.model), KeyRange(), options_for(SPEC), lambda: None)
    assert (report.rows_embedded, counts.pending) == (20, 0)
    assert rows.errors.count().total == 0


def test_a_limited_refresh_reads_the_present(database: RecordingDatabase) -> None:
    rows = prepare(database, SPEC)
    options = options_for(SPEC, batch_size=5)
    limited = type(options)(**{**vars(options), "max_batches": 1})
    refresh_and_settle(rows, registry().load(SPEC.model), KeyRange(), limited, lambda: None)
    assert set(database.times("read_pending")) == {False}


def test_completing_a_partition_decides_in_the_present(database: RecordingDatabase) -> None:
    rows = prepare(database, SPEC)
    done = complete_range(rows, registry().load(SPEC.model), KeyRange(), options_for(SPEC))
    assert done.state.is_complete
    sent = list(database.sent)
    assert database.times("read_range_state") == [False, False]
    database.sent = sent
    assert set(database.times("read_pending")) == {True}


def test_follow_reads_the_present(database: RecordingDatabase) -> None:
    rows = prepare(database, SPEC)
    follow_round(rows, registry().load(SPEC.model), [KeyRange()], options_for(SPEC))
    assert database.sent
    assert not any(is_past for _, is_past in database.sent)


def test_estimates_and_samples_read_the_past(database: RecordingDatabase) -> None:
    bound = prepared(database, SPEC)
    pending_reasons(bound)
    assert database.times("count_reasons") == [True]
    sample_inputs(bound, 5)
    assert database.times("sample_pending") == [True]
    column_counts(bound, "follower_read")
    assert database.times("count_rows") == [True]
    range_state(bound, KeyRange(), "follower_read")
    assert database.times("read_range_state") == [True]


def test_table_that_is_too_new_is_read_in_the_present(
    database: RecordingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PostgreSQL rejects the clause, with a code of the class of those for a table that does not exist.
    monkeypatch.setattr(PostgresVectors, "follower_read_clause", CockroachVectors(260200).follower_read_clause)
    bound = prepared(database, SPEC)
    assert column_counts(bound, "follower_read").rows == 20
    assert database.times("count_rows") == [True, False]


def test_clause_ends_the_outermost_from() -> None:
    for name, _, entries in ledger.build(CockroachDialect()):
        for entry in entries:
            text = entry.statement.text
            if entry.statement.present is None:
                assert CLAUSE not in text or name in SEARCHES, name
                continue
            assert name in follower_reads()
            assert text.startswith("SELECT "), name
            assert text.count(CLAUSE) == 1, name
            before, after = text.split(CLAUSE)
            assert before.count("(") == before.count(")"), f"{name}: the clause is in a sub-query"
            assert after == "" or after.startswith((" WHERE ", " GROUP BY ")), name
