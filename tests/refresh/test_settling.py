"""Rows whose update the table discards or changes: they are recorded and deferred, and no pass repeats without end."""

import threading

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.completion import UnsettledRows, complete_range, refresh_and_settle
from crdbvec_pipelines.refresh.follower import FollowedColumn, Follower
from crdbvec_pipelines.refresh.options import RefreshOptions
from crdbvec_pipelines.refresh.rounds import RoundResult
from crdbvec_pipelines.refresh.settling import Settling
from tests.support.models import CallLog, stub
from tests.support.servers import Server
from tests.support.tables import column, create_table
from tests.support.work import embed, prepare

SPEC = column(model="stub_hash")
ROWS = 20
DISCARDED = {
    "discards": "RETURN NULL",
    "clears the vector": "NEW.passage_vector := NULL; RETURN NEW",
    "keeps the old row": "RETURN OLD",
    "changes the fingerprint": "NEW.passage_vector_fingerprint := 'x'; RETURN NEW",
    "changes the input": "NEW.passage := NEW.passage || 'x'; RETURN NEW",
}
MESSAGE = "The row is still pending although its vector was written in two passes"


def add_trigger(connection: psycopg.Connection, body: str, condition: str = "true") -> None:
    """Create a trigger that runs `body` for the updates of some rows."""
    connection.execute(
        "CREATE FUNCTION interfere() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN IF {condition} THEN {body}; END IF; RETURN NEW; END$$"
    )
    connection.execute("CREATE TRIGGER interfere BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION interfere()")


def settle(rows: VectorRows) -> tuple[int, int]:
    """Refresh until the rows settle, as the command does; return the embedded and the failed rows."""
    report, _ = refresh_and_settle(rows, stub("stub_hash"), KeyRange(), RefreshOptions(batch_size=7), lambda: None)
    return report.rows_embedded, report.rows_failed


def follow(rows: VectorRows) -> list[RoundResult]:
    """Follow the column until no round changes rows, and return the others; at most 50."""
    stop = threading.Event()
    rounds: list[RoundResult] = []

    def on_round(_column: FollowedColumn, done: RoundResult) -> None:
        rounds.append(done)
        if len(rounds) == 50:
            stop.set()

    Follower([FollowedColumn(rows, stub("stub_hash"))], stop=stop, max_idle=0.5, on_round=on_round).run()
    return rounds


@pytest.mark.parametrize("body", DISCARDED.values(), ids=DISCARDED.keys())
def test_rows_that_do_not_settle_are_recorded_and_the_others_embedded(
    postgres: Server, body: str, calls: CallLog
) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
        rows = prepare(database, SPEC)
        add_trigger(connection, body, "NEW.passage LIKE '%3%'")
        embedded, failed = settle(rows)
        assert failed == 2
        assert embedded >= ROWS - 2
        counts = rows.count(KeyRange())
        assert (counts.pending, counts.deferred) == (0, 2)
        assert {error.message.partition(":")[0] for error in rows.errors.list(10)} == {MESSAGE}
        # A second run embeds nothing, and a corrected table is embedded after the failures are released.
        assert embed(database, SPEC).rows_read == 0
        connection.execute("DROP TRIGGER interfere ON passage")
        rows.errors.retry()
        assert settle(rows) == (2, 0)
        assert rows.errors.count().total == 0


@pytest.mark.parametrize("body", DISCARDED.values(), ids=DISCARDED.keys())
def test_a_follow_process_does_not_repeat_its_rounds(postgres: Server, body: str) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
        rows = prepare(database, SPEC)
        add_trigger(connection, body)
        assert len(follow(rows)) < 5


def test_a_policy_that_hides_rows_from_updates(postgres: Server) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
        prepare(database, SPEC)
        role = f"writer_{database.name}"
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
            connection.execute("ALTER TABLE passage ENABLE ROW LEVEL SECURITY")
            connection.execute("CREATE POLICY can_read ON passage FOR SELECT USING (true)")
            connection.execute("CREATE POLICY can_write ON passage FOR UPDATE USING (passage <> 'text 7')")
            with Database(url.replace("postgres@", f"{role}@")) as as_writer:
                rows = VectorRows(bind_column(as_writer, SPEC, stub("stub_hash")))
                assert settle(rows) == (ROWS - 1, 1)
                assert rows.count(KeyRange()).pending == 0
        finally:
            connection.execute(f"DROP OWNED BY {role}".encode())
            connection.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger", "nulls_only"])
def test_a_partition_without_a_current_vector_fails(postgres: Server, staleness: str) -> None:
    with (
        postgres.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(connection, texts=["a", "b"])
        spec: VectorColumn = column(model="stub_hash", staleness=staleness)
        rows = prepare(database, spec)
        add_trigger(connection, "RETURN NULL")
        with pytest.raises(UnsettledRows, match="2 rows"):
            complete_range(rows, stub("stub_hash"), KeyRange(), RefreshOptions(batch_size=7))
        assert rows.count(KeyRange()).deferred == 2


def test_rows_that_are_edited_in_every_pass_are_not_recorded(
    database: Database, connection: psycopg.Connection
) -> None:
    """A busy application is no reason to defer a row."""
    create_table(connection, texts=["a"])
    rows = prepare(database, SPEC)
    settling = Settling()
    for number in range(4):
        connection.execute("UPDATE passage SET passage = %s", (f"edit {number}",))
        report = embed(database, SPEC, settling=settling)
        assert (report.rows_embedded, report.rows_failed) == (1, 0)
    assert rows.errors.count().total == 0


@pytest.mark.parametrize("kind", ["BIT(4)", "BIT(12)", "VARBIT"])
def test_rows_with_bit_keys_are_embedded(database: Database, connection: psycopg.Connection, kind: str) -> None:
    """A cast to `bit` alone would shorten the key to one bit."""
    connection.execute(f"CREATE TABLE passage (id {kind} PRIMARY KEY, passage TEXT)".encode())
    size = 12 if "12" in kind else 4
    connection.execute(
        f"INSERT INTO passage VALUES (B'{1:0{size}b}', 'a'), (B'{5:0{size}b}', 'b'), (B'{6:0{size}b}', 'c')".encode()
    )
    rows = prepare(database, SPEC)
    assert settle(rows) == (3, 0)
    assert rows.count(KeyRange()).embedded == 3
