"""The estimate of a refresh: pending rows by reason, work and cost, and nothing is written."""

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.rows.pending_reasons import PendingReasons, sample_inputs
from crdbvec_pipelines.estimate import Estimate, estimate_refresh
from tests.support.models import STUB_DIM, CallLog, registry
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, insert_rows, set_text
from tests.support.work import FakeModel, embed, prepare

FAILING = column(model="stub_failing")


def estimate(database: Database, spec: VectorColumn) -> Estimate:
    """Return the estimate with a newly loaded model, as in another process."""
    return estimate_refresh(database, spec, registry().load(spec.model))


def read_everything(connection: psycopg.Connection) -> object:
    """Read all that an estimate must not change: tables, indexes, columns, triggers, functions and rows."""
    queries = (
        "SELECT c.relname, c.relkind::text, a.attname FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
        "WHERE n.nspname = 'public' ORDER BY 1, 2, 3",
        "SELECT tgname FROM pg_catalog.pg_trigger WHERE NOT tgisinternal ORDER BY 1",
        "SELECT p.proname FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace "
        "WHERE n.nspname = 'public' ORDER BY 1",
        "SELECT extname FROM pg_catalog.pg_extension ORDER BY 1",
        "SELECT row_to_json(p)::text FROM passage AS p ORDER BY 1",
    )
    return [connection.execute(query).fetchall() for query in queries]


def test_all_rows_of_a_new_table_are_pending_except_blank_ones(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a", "b", "a", "", None, "  "])
    result = estimate(database, column(model="stub_hash"))
    assert result.reasons == PendingReasons(
        rows=6, embedded=0, never_embedded=3, edited=0, other_model=0, blank=3, distinct=2
    )
    assert (result.reasons.pending, result.reasons.duplicates) == (3, 1)


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger", "nulls_only"])
def test_estimate_writes_nothing(database: Database, connection: psycopg.Connection, staleness: str) -> None:
    create_table(connection, texts=["a", "b"])
    before = read_everything(connection)
    result = estimate(database, column(model="stub_hash", staleness=staleness))
    assert read_everything(connection) == before
    assert any("ADD COLUMN" in statement for statement in result.statements)
    embed(database, column(model="stub_hash"))
    set_text(connection, INT_SHAPE, 0, "edited")
    before = read_everything(connection)
    estimate(database, column(model="stub_hash", staleness=staleness))
    assert read_everything(connection) == before


def test_estimate_lists_the_statements_that_the_refresh_runs(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    connection.execute("ALTER TABLE passage ADD COLUMN changed TIMESTAMPTZ DEFAULT now()")
    spec = column(model="stub_hash", staleness="trigger", updated_at="changed")
    *changes, write = estimate(database, spec).statements
    assert write.startswith(
        'UPDATE "public"."passage" AS "crdbvec_row" SET "passage_vector" = %(vector)s::"public".vector'
    )
    for text in changes:
        connection.execute(text.encode())
    assert estimate(database, spec).statements == (write,)


def test_pending_rows_are_counted_by_reason(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(10)])
    embed(database, FAILING)
    set_text(connection, INT_SHAPE, 0, "edited")
    insert_rows(connection, INT_SHAPE, {20: "new", 21: "new", 22: ""})
    assert estimate(database, FAILING).reasons == PendingReasons(
        rows=13, embedded=9, never_embedded=2, edited=1, other_model=0, blank=1, distinct=2
    )
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    assert estimate(database, FAILING).reasons == PendingReasons(
        rows=13, embedded=0, never_embedded=2, edited=1, other_model=9, blank=1, distinct=11
    )
    # During the refresh, vectors of the new revision are distinguished from those of the old one.
    embed(database, FAILING, max_batches=1, batch_size=6)
    reasons = estimate(database, FAILING).reasons
    assert (reasons.embedded, reasons.other_model + reasons.edited + reasons.never_embedded) == (2, 10)
    assert reasons.never_embedded == 0


def test_change_of_the_template_is_an_edit_of_every_row(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    embed(database, column(model="stub_hash", template="text: {passage}"))
    reasons = estimate(database, column(model="stub_hash", template="passage: {passage}")).reasons
    assert (reasons.edited, reasons.other_model, reasons.embedded) == (3, 0, 0)


def test_storage_is_estimated_for_all_embedded_and_pending_rows(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(10)])
    vector, fingerprint = 4 * STUB_DIM + 8, 33
    assert estimate(database, FAILING).column_bytes == 10 * (vector + fingerprint)
    assert estimate(database, column(model="stub_failing", staleness="nulls_only")).column_bytes == 10 * vector
    before = estimate(database, FAILING).index_bytes
    assert before > 10 * 4 * STUB_DIM / 8
    embed(database, FAILING)
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    again = estimate(database, FAILING)
    assert (again.column_bytes, again.index_bytes) == (10 * (vector + fingerprint), before)


def test_rate_is_measured_if_rows_are_pending(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "b"])
    result = estimate(database, column(model="stub_hash"))
    assert result.sampled == 3
    assert result.rows_per_second is not None
    assert result.seconds == pytest.approx(2 / result.rows_per_second)
    embed(database, column(model="stub_hash"))
    result = estimate(database, column(model="stub_hash"))
    assert (result.sampled, result.rows_per_second, result.seconds, result.tokens) == (0, None, None, None)


def test_estimate_succeeds_despite_failed_rows_or_an_unavailable_model(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "REJECTED", "b", "TOO_LONG"])
    result = estimate(database, FAILING)
    assert result.reasons.pending == 4
    assert result.rows_per_second is not None
    calls.path.with_suffix(".unavailable").touch()
    result = estimate(database, FAILING)
    assert (result.reasons.pending, result.rows_per_second, result.seconds) == (4, None, None)


def test_tokens_are_counted_by_the_model(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one two three"] * 100)
    result = estimate(database, column(model="hf_st_all_minilm_l6", output="v"))
    # Three words, and the two special tokens around them.
    assert (result.tokens, result.tokens_encoded, result.truncated, result.unreadable) == (500, 500, 0, 0)
    assert estimate(database, column(model="stub_hash")).tokens is None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sample_is_spread_over_the_table(database: Database, connection: psycopg.Connection, shape: KeyShape) -> None:
    create_table(connection, shape, ["" if number % 2 else f"text {number}" for number in range(200)])
    spec = column(model="stub_hash")
    # Before and after the table is prepared.
    for _ in range(2):
        bound = open_column(database, spec, FakeModel())
        sample = sample_inputs(bound, 10)
        assert len(set(sample)) == len(sample) == 10
        everything = sample_inputs(bound, 1_000)
        assert sorted(map(str, everything)) == sorted(f"text {number}" for number in range(0, 200, 2))
        prepare(database, spec, model_id="m")


def test_table_without_the_input_column_is_rejected(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    with pytest.raises(TableError, match="has no column pasage to embed; did you mean passage"):
        estimate(database, column(model="stub_hash", input="pasage"))


def test_deferred_rows_are_neither_pending_nor_sampled(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "REJECTED", "b"])
    embed(database, FAILING)
    insert_rows(connection, INT_SHAPE, {10: "new"})
    result = estimate(database, FAILING)
    assert result.reasons == PendingReasons(
        rows=4, embedded=2, never_embedded=1, edited=0, other_model=0, blank=0, distinct=1, failed=1, deferred=1
    )
    assert (result.reasons.pending, result.sampled) == (1, 1)
