"""What a refresh would do and cost: the reasons, counted before anything is paid, and nothing written."""

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.plan import PendingReasons, sample_inputs
from crdbvec_pipelines.planning import Plan, make_plan
from tests.support.models import STUB_DIM, CallLog, registry
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, insert_rows, set_text
from tests.support.work import embed, prepare

MOODY = column(model="stub_moody")


def plan(database: Database, spec: VectorColumn) -> Plan:
    """A plan, by a model loaded anew, as another process would."""
    return make_plan(database, spec, registry().load(spec.model))


def everything(connection: psycopg.Connection) -> object:
    """All that a plan could change: tables, indexes, columns, triggers, functions, and the rows themselves."""
    questions = (
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
    return [connection.execute(question).fetchall() for question in questions]


def test_a_new_table_is_pending_as_a_whole_but_for_blank_rows(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a", "b", "a", "", None, "  "])
    found = plan(database, column(model="stub_hash"))
    assert found.reasons == PendingReasons(
        rows=6, embedded=0, never_embedded=3, edited=0, other_model=0, blank=3, distinct=2
    )
    assert (found.reasons.pending, found.reasons.duplicates) == (3, 1)


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger", "nulls_only"])
def test_nothing_is_written_whatever_there_is_to_do(
    database: Database, connection: psycopg.Connection, staleness: str
) -> None:
    create_table(connection, texts=["a", "b"])
    before = everything(connection)
    found = plan(database, column(model="stub_hash", staleness=staleness))
    assert everything(connection) == before
    assert any("ADD COLUMN" in statement for statement in found.statements)
    embed(database, column(model="stub_hash"))
    set_text(connection, INT_SHAPE, 0, "edited")
    before = everything(connection)
    plan(database, column(model="stub_hash", staleness=staleness))
    assert everything(connection) == before


def test_the_statements_of_a_plan_are_those_that_are_then_run(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a"])
    spec = column(model="stub_hash", staleness="trigger", updated_at="id")
    *changes, write = plan(database, spec).statements
    assert write.startswith('UPDATE "public"."passage" SET "passage_vector" = %(vector)s::vector')
    for text in changes:
        connection.execute(text.encode())
    assert plan(database, spec).statements == (write,)


def test_pending_rows_are_told_apart_by_their_reason(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(10)])
    embed(database, MOODY)
    set_text(connection, INT_SHAPE, 0, "edited")
    insert_rows(connection, INT_SHAPE, {20: "new", 21: "new", 22: ""})
    assert plan(database, MOODY).reasons == PendingReasons(
        rows=13, embedded=9, never_embedded=2, edited=1, other_model=0, blank=1, distinct=2
    )
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    assert plan(database, MOODY).reasons == PendingReasons(
        rows=13, embedded=0, never_embedded=2, edited=1, other_model=9, blank=1, distinct=11
    )
    # Once it has begun, what the new one made is told from what the old one made.
    embed(database, MOODY, max_batches=1, batch_size=6)
    reasons = plan(database, MOODY).reasons
    assert (reasons.embedded, reasons.other_model + reasons.edited + reasons.never_embedded) == (2, 10)
    assert reasons.never_embedded == 0


def test_a_change_of_the_template_is_an_edit_of_every_row(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "c"])
    embed(database, column(model="stub_hash", template="text: {passage}"))
    reasons = plan(database, column(model="stub_hash", template="passage: {passage}")).reasons
    assert (reasons.edited, reasons.other_model, reasons.embedded) == (3, 0, 0)


def test_storage_is_that_of_all_vectors_there_will_be(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(10)])
    vector, fingerprint = 4 * STUB_DIM + 8, 33
    assert plan(database, MOODY).column_bytes == 10 * (vector + fingerprint)
    assert plan(database, column(model="stub_moody", staleness="nulls_only")).column_bytes == 10 * vector
    before = plan(database, MOODY).index_bytes
    assert before > 10 * 4 * STUB_DIM / 8
    embed(database, MOODY)
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    again = plan(database, MOODY)
    assert (again.column_bytes, again.index_bytes) == (10 * (vector + fingerprint), before)


def test_the_rate_is_measured_where_something_is_pending(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b", "b"])
    found = plan(database, column(model="stub_hash"))
    assert found.sampled == 3
    assert found.rows_per_second is not None
    assert found.seconds == pytest.approx(2 / found.rows_per_second)
    embed(database, column(model="stub_hash"))
    found = plan(database, column(model="stub_hash"))
    assert (found.sampled, found.rows_per_second, found.seconds, found.tokens) == (0, None, None, None)


def test_a_bad_row_or_a_model_that_is_away_does_not_keep_a_plan_from_being_made(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "POISON", "b", "ENDLESS"])
    found = plan(database, MOODY)
    assert found.reasons.pending == 4
    assert found.rows_per_second is not None
    calls.path.with_suffix(".away").touch()
    found = plan(database, MOODY)
    assert (found.reasons.pending, found.rows_per_second, found.seconds) == (4, None, None)


def test_tokens_are_counted_as_the_model_counts_them(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one two three"] * 100)
    found = plan(database, column(model="hf_st_all_minilm_l6", output="v"))
    # Three words, and the two tokens around them.
    assert found.tokens == 500
    assert plan(database, column(model="stub_hash")).tokens is None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_sample_is_spread_over_the_table(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, ["" if number % 2 else f"text {number}" for number in range(200)])
    spec = column(model="stub_hash")
    for _ in range(2):
        table = read_table(database, spec.table)
        found = sample_inputs(database, table, spec, "m", 10)
        assert len(set(found)) == len(found) == 10
        everywhere = sample_inputs(database, table, spec, "m", 1_000)
        assert sorted(map(str, everywhere)) == sorted(f"text {number}" for number in range(0, 200, 2))
        prepare(database, spec, model_id="m")


def test_what_cannot_carry_the_column_is_refused(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    with pytest.raises(TableError, match="has no column pasage to embed; did you mean passage"):
        plan(database, column(model="stub_hash", input="pasage"))
