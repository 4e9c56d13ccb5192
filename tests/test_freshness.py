"""What happens to rows over time: after a refresh every vector matches its text, and nothing was embedded for nothing.

One story for each staleness, event by event, with the inputs that each refresh must encode.
"""

from collections.abc import Callable, Sequence

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.refresh import RefreshReport
from tests.support.models import CallLog, registry, stub
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text, vectors
from tests.support.work import embed

TEXTS = [f"text {number}" for number in range(12)]


class Story:
    """A table, its application and its refreshes."""

    def __init__(
        self, database: Database, connection: psycopg.Connection, calls: CallLog, staleness: str, **values: object
    ) -> None:
        self.database = database
        self.connection = connection
        self.calls = calls
        self.spec: VectorColumn = column(model="stub_moody", staleness=staleness, **values)
        create_table(connection, INT_SHAPE, TEXTS)

    def edit(self, number: int, text: str | None) -> None:
        set_text(self.connection, INT_SHAPE, number, text)

    def delete(self, number: int) -> None:
        done = self.connection.execute("DELETE FROM passage WHERE id = %s", INT_SHAPE.key(number))
        assert done.rowcount == 1

    def insert(self, number: int, text: str | None) -> None:
        insert_rows(self.connection, INT_SHAPE, {number: text})

    def move(self, number: int, to: int) -> None:
        """Gives a row another key."""
        done = self.connection.execute(
            "UPDATE passage SET id = %s WHERE id = %s", (*INT_SHAPE.key(to), *INT_SHAPE.key(number))
        )
        assert done.rowcount == 1

    def refresh(self, *expected: str, meanwhile: Callable[[], None] | None = None) -> RefreshReport:
        """Embeds what is pending; exactly these inputs must be encoded, each once."""
        self.calls.clear()
        # Loaded anew, as another process would: a revision of the model may have changed.
        encoder = registry().load(self.spec.model)
        interrupted = Interrupted(encoder.encode, meanwhile) if meanwhile else encoder
        report = embed(self.database, self.spec, interrupted, model_id=encoder.model_id)
        assert sorted(self.calls.inputs()) == sorted(expected)
        return report

    def check(self, *outdated: int) -> None:
        """Every vector is that of its row's text, and there is none without; but for these rows."""
        found = vectors(self.connection)
        rows = self.connection.execute("SELECT id, passage FROM passage").fetchall()
        skipped = {INT_SHAPE.key(number) for number in outdated}
        model = stub("stub_moody")
        for key, text in rows:
            if (key,) in skipped:
                continue
            vector = found[(key,)]
            if text is None or not text.strip():
                assert vector is None, (key, text)
            else:
                assert vector is not None, (key, text)
                assert (vector == model.encode_query(text)).all(), (key, text)


class Interrupted:
    """The model, while whose first answer something happens to the table."""

    def __init__(self, encode: Callable[..., EncodedBatch], meanwhile: Callable[[], None]) -> None:
        self._encode = encode
        self._meanwhile = [meanwhile]

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        done = self._encode(batch, batch_index)
        if self._meanwhile:
            self._meanwhile.pop()()
        return done


@pytest.fixture(params=["fingerprint", "trigger"])
def story(request: pytest.FixtureRequest, database: Database, connection: psycopg.Connection, calls: CallLog) -> Story:
    """Twelve rows whose edits are looked for, none embedded yet."""
    return Story(database, connection, calls, request.param)


def test_edits_between_refreshes(story: Story) -> None:
    story.refresh(*TEXTS)
    story.check()
    story.edit(0, "edited")
    story.edit(1, "text 1")
    story.edit(2, "EDITED")
    story.edit(2, "text 2")
    # The trigger cleared what changed twice and is the same again; comparing fingerprints, nothing has changed.
    story.refresh("edited", *(["text 2"] if story.spec.staleness == "trigger" else []))
    story.check()
    story.refresh()


def test_edits_while_the_model_works(story: Story) -> None:
    def meanwhile() -> None:
        story.edit(0, "newer")
        story.edit(1, None)
        story.delete(2)
        story.delete(3)
        story.insert(3, "text 3, born again")
        story.delete(4)
        story.insert(4, "text 4")
        story.insert(50, "late")

    report = story.refresh(*TEXTS, meanwhile=meanwhile)
    # Row 4 is another one with the same key and the same text, whose vector is as good.
    assert (report.rows_embedded, report.rows_changed) == (8, 4)
    story.refresh("newer", "text 3, born again", "late")
    story.check()
    story.refresh()


def test_texts_that_go_and_come(story: Story) -> None:
    story.edit(0, None)
    story.edit(1, "  ")
    story.refresh(*TEXTS[2:])
    story.check()
    story.edit(0, "text 0")
    story.edit(1, "text 1")
    for number, text in ((2, None), (3, ""), (4, "\t\n")):
        story.edit(number, text)
    story.refresh("text 0", "text 1")
    story.check()
    story.refresh()


def test_rows_that_are_deleted_and_inserted_again(story: Story) -> None:
    story.refresh(*TEXTS)
    for number in range(4):
        story.delete(number)
    story.insert(0, "text 0")
    story.insert(1, "another text under the key of row 1")
    story.insert(2, None)
    story.refresh("text 0", "another text under the key of row 1")
    story.check()
    story.refresh()


def test_keys_that_change_hands(story: Story) -> None:
    story.refresh(*TEXTS)
    # The vector moves with its text, so nothing is pending.
    story.move(0, 100)
    story.move(1, 0)
    story.move(100, 1)
    story.refresh()
    story.check()


def test_keys_that_change_hands_while_the_model_works(story: Story) -> None:
    def meanwhile() -> None:
        story.move(0, 100)
        story.move(1, 0)
        story.move(100, 1)

    story.refresh(*TEXTS, meanwhile=meanwhile)
    story.refresh("text 0", "text 1")
    story.check()


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger"])
@pytest.mark.parametrize(
    "disable",
    ["ALTER TABLE passage DISABLE TRIGGER ALL", "SET session_replication_role = replica"],
    ids=["disabled", "replica"],
)
def test_a_bulk_load_with_triggers_disabled(postgres: Server, calls: CallLog, staleness: str, disable: str) -> None:
    with postgres.new_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        story = Story(database, connection, calls, staleness)
        story.refresh(*TEXTS)
        connection.execute(disable.encode())
        connection.execute("UPDATE passage SET passage = passage || ', loaded' WHERE id > 0")
        connection.execute("ALTER TABLE passage ENABLE TRIGGER ALL")
        connection.execute("SET session_replication_role = origin")
        loaded = [f"{text}, loaded" for number, text in enumerate(TEXTS) if INT_SHAPE.key(number)[0] > 0]  # type: ignore[operator]
        assert 0 < len(loaded) < len(TEXTS)
        story.refresh(*loaded)
        story.check()
        story.refresh()


def test_a_trigger_that_was_dropped_is_missed_by_no_edit(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    story = Story(database, connection, calls, "trigger")
    story.refresh(*TEXTS)
    connection.execute("DROP TRIGGER crdbvec_stale ON passage")
    story.edit(0, "edited")
    story.refresh("edited")
    story.check()


def test_a_change_of_the_models_revision(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.refresh(*TEXTS)
    story.edit(0, "edited")
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    story.refresh("edited", *TEXTS[1:])
    story.check()
    story.refresh()
    # And back: no vector of the old revision is left to be taken for one of it.
    monkeypatch.delenv("CRDBVEC_TEST_REVISION")
    story.refresh("edited", *TEXTS[1:])
    story.check()


def test_a_change_of_staleness_embeds_nothing_again(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    story = Story(database, connection, calls, "fingerprint")
    story.refresh(*TEXTS)
    for staleness in ("trigger", "nulls_only", "fingerprint"):
        story.spec = column(model="stub_moody", staleness=staleness)
        story.refresh()
    story.check()


def test_where_only_nulls_are_pending_edits_are_not_looked_for(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(database, connection, calls, "nulls_only")

    def meanwhile() -> None:
        story.edit(0, "newer")
        story.delete(1)
        story.insert(1, "another")

    # What changes while the model works is not written all the same.
    story.refresh(*TEXTS, meanwhile=meanwhile)
    story.refresh("newer", "another")
    story.check()
    # The price: an edited row keeps its old vector until somebody sets it to NULL, and so do all with another model.
    story.edit(0, "edited")
    story.edit(2, None)
    story.refresh()
    story.check(0, 2)
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    story.refresh()
    monkeypatch.delenv("CRDBVEC_TEST_REVISION")
    connection.execute("UPDATE passage SET passage_vector = NULL WHERE id = ANY(%s)", ([INT_SHAPE.key(0)[0]],))
    story.refresh("edited")
    story.check(2)


def test_equal_texts_are_encoded_once(story: Story) -> None:
    for number in range(12):
        story.edit(number, "the same")
    assert story.refresh("the same").rows_embedded == 12
    story.check()
