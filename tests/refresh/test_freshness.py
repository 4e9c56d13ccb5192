"""Rows change between and during refreshes: after a refresh every vector matches its text, and no input is re-encoded.

Each test lists the changes and the inputs that each refresh must encode, for each kind of staleness.
"""

from collections.abc import Callable, Sequence

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.refresh.report import RefreshReport
from tests.support.models import CallLog, registry, stub
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text, vectors
from tests.support.work import embed

TEXTS = [f"text {number}" for number in range(12)]


class Scenario:
    """A table, the changes that an application makes to it, and its refreshes."""

    def __init__(
        self, database: Database, connection: psycopg.Connection, calls: CallLog, staleness: str, **values: object
    ) -> None:
        self.database = database
        self.connection = connection
        self.calls = calls
        self.spec: VectorColumn = column(model="stub_failing", staleness=staleness, **values)
        create_table(connection, INT_SHAPE, TEXTS)

    def edit(self, number: int, text: str | None) -> None:
        set_text(self.connection, INT_SHAPE, number, text)

    def delete(self, number: int) -> None:
        deleted = self.connection.execute("DELETE FROM passage WHERE id = %s", INT_SHAPE.key(number))
        assert deleted.rowcount == 1

    def insert(self, number: int, text: str | None) -> None:
        insert_rows(self.connection, INT_SHAPE, {number: text})

    def change_key(self, number: int, to: int) -> None:
        """Give a row another key."""
        updated = self.connection.execute(
            "UPDATE passage SET id = %s WHERE id = %s", (*INT_SHAPE.key(to), *INT_SHAPE.key(number))
        )
        assert updated.rowcount == 1

    def refresh(self, *expected: str, while_encoding: Callable[[], None] | None = None) -> RefreshReport:
        """Embed the pending rows, and assert that exactly these inputs are encoded, each once."""
        self.calls.clear()
        # Loaded again, as in another process, because the revision of the model may have changed.
        encoder = registry().load(self.spec.model)
        encoding = ChangingEncoder(encoder.encode, while_encoding) if while_encoding else encoder
        report = embed(self.database, self.spec, encoding, model_id=encoder.model_id)
        assert sorted(self.calls.inputs()) == sorted(expected)
        return report

    def check(self, *stale: int) -> None:
        """Assert that each row has the vector of its text, or none without a text; except for the stale rows."""
        written = vectors(self.connection)
        rows = self.connection.execute("SELECT id, passage FROM passage").fetchall()
        skipped = {INT_SHAPE.key(number) for number in stale}
        model = stub("stub_failing")
        for key, text in rows:
            if (key,) in skipped:
                continue
            vector = written[(key,)]
            if text is None or not text.strip():
                assert vector is None, (key, text)
            else:
                assert vector is not None, (key, text)
                assert (vector == model.encode_query(text)).all(), (key, text)


class ChangingEncoder:
    """The model; the table changes while it encodes the first batch."""

    def __init__(self, encode: Callable[..., EncodedBatch], change: Callable[[], None]) -> None:
        self._encode = encode
        self._changes = [change]

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        encoded = self._encode(batch, batch_index)
        if self._changes:
            self._changes.pop()()
        return encoded


@pytest.fixture(params=["fingerprint", "trigger"])
def scenario(
    request: pytest.FixtureRequest, database: Database, connection: psycopg.Connection, calls: CallLog
) -> Scenario:
    """Twelve rows, not embedded yet, with each kind of staleness that finds edits."""
    return Scenario(database, connection, calls, request.param)


def test_edits_between_refreshes(scenario: Scenario) -> None:
    scenario.refresh(*TEXTS)
    scenario.check()
    scenario.edit(0, "edited")
    scenario.edit(1, "text 1")
    scenario.edit(2, "EDITED")
    scenario.edit(2, "text 2")
    # Row 2 was changed and changed back: the trigger has cleared its vector, but its fingerprint still matches.
    scenario.refresh("edited", *(["text 2"] if scenario.spec.staleness == "trigger" else []))
    scenario.check()
    scenario.refresh()


def test_changes_while_the_model_encodes(scenario: Scenario) -> None:
    def change() -> None:
        scenario.edit(0, "newer")
        scenario.edit(1, None)
        scenario.delete(2)
        scenario.delete(3)
        scenario.insert(3, "text 3, inserted again")
        scenario.delete(4)
        scenario.insert(4, "text 4")
        scenario.insert(50, "late")

    report = scenario.refresh(*TEXTS, while_encoding=change)
    # Row 4 was replaced by a row with the same key and the same text, so the vector is written.
    assert (report.rows_embedded, report.rows_changed) == (8, 4)
    scenario.refresh("newer", "text 3, inserted again", "late")
    scenario.check()
    scenario.refresh()


def test_texts_that_are_removed_and_added(scenario: Scenario) -> None:
    scenario.edit(0, None)
    scenario.edit(1, "  ")
    scenario.refresh(*TEXTS[2:])
    scenario.check()
    scenario.edit(0, "text 0")
    scenario.edit(1, "text 1")
    for number, text in ((2, None), (3, ""), (4, "\t\n")):
        scenario.edit(number, text)
    scenario.refresh("text 0", "text 1")
    scenario.check()
    scenario.refresh()


def test_rows_that_are_deleted_and_inserted(scenario: Scenario) -> None:
    scenario.refresh(*TEXTS)
    for number in range(4):
        scenario.delete(number)
    scenario.insert(0, "text 0")
    scenario.insert(1, "another text under the key of row 1")
    scenario.insert(2, None)
    scenario.refresh("text 0", "another text under the key of row 1")
    scenario.check()
    scenario.refresh()


def test_rows_that_swap_keys(scenario: Scenario) -> None:
    scenario.refresh(*TEXTS)
    # The vector stays with its text, so no row is pending.
    scenario.change_key(0, 100)
    scenario.change_key(1, 0)
    scenario.change_key(100, 1)
    scenario.refresh()
    scenario.check()


def test_rows_that_swap_keys_while_the_model_encodes(scenario: Scenario) -> None:
    def change() -> None:
        scenario.change_key(0, 100)
        scenario.change_key(1, 0)
        scenario.change_key(100, 1)

    scenario.refresh(*TEXTS, while_encoding=change)
    scenario.refresh("text 0", "text 1")
    scenario.check()


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger"])
@pytest.mark.parametrize(
    "disable",
    ["ALTER TABLE passage DISABLE TRIGGER ALL", "SET session_replication_role = replica"],
    ids=["disabled", "replica"],
)
def test_bulk_load_with_triggers_disabled(postgres: Server, calls: CallLog, staleness: str, disable: str) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        scenario = Scenario(database, connection, calls, staleness)
        scenario.refresh(*TEXTS)
        connection.execute(disable.encode())
        connection.execute("UPDATE passage SET passage = passage || ', loaded' WHERE id > 0")
        connection.execute("ALTER TABLE passage ENABLE TRIGGER ALL")
        connection.execute("SET session_replication_role = origin")
        loaded = [f"{text}, loaded" for number, text in enumerate(TEXTS) if INT_SHAPE.key(number)[0] > 0]  # type: ignore[operator]
        assert 0 < len(loaded) < len(TEXTS)
        scenario.refresh(*loaded)
        scenario.check()
        scenario.refresh()


def test_edits_are_found_after_the_trigger_was_dropped(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    scenario = Scenario(database, connection, calls, "trigger")
    scenario.refresh(*TEXTS)
    connection.execute("DROP TRIGGER crdbvec_stale ON passage")
    scenario.edit(0, "edited")
    scenario.refresh("edited")
    scenario.check()


def test_change_of_the_model_revision(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario.refresh(*TEXTS)
    scenario.edit(0, "edited")
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    scenario.refresh("edited", *TEXTS[1:])
    scenario.check()
    scenario.refresh()
    # After the change back, no vector of the first revision is left, so all rows are pending again.
    monkeypatch.delenv("CRDBVEC_TEST_REVISION")
    scenario.refresh("edited", *TEXTS[1:])
    scenario.check()


def test_change_of_staleness_makes_no_row_pending(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    scenario = Scenario(database, connection, calls, "fingerprint")
    scenario.refresh(*TEXTS)
    for staleness in ("trigger", "nulls_only", "fingerprint"):
        scenario.spec = column(model="stub_failing", staleness=staleness)
        scenario.refresh()
    scenario.check()


def test_nulls_only_ignores_edits(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario(database, connection, calls, "nulls_only")

    def change() -> None:
        scenario.edit(0, "newer")
        scenario.delete(1)
        scenario.insert(1, "another")

    # Rows that change while the model encodes are not written with the vector of the old text.
    scenario.refresh(*TEXTS, while_encoding=change)
    scenario.refresh("newer", "another")
    scenario.check()
    # An edited row keeps its old vector until the vector is set to NULL, and so do all rows if the model changes.
    scenario.edit(0, "edited")
    scenario.edit(2, None)
    scenario.refresh()
    scenario.check(0, 2)
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    scenario.refresh()
    monkeypatch.delenv("CRDBVEC_TEST_REVISION")
    connection.execute("UPDATE passage SET passage_vector = NULL WHERE id = ANY(%s)", ([INT_SHAPE.key(0)[0]],))
    scenario.refresh("edited")
    scenario.check(2)


def test_equal_texts_are_encoded_once(scenario: Scenario) -> None:
    for number in range(12):
        scenario.edit(number, "the same")
    assert scenario.refresh("the same").rows_embedded == 12
    scenario.check()
