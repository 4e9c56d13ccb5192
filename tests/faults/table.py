"""The table of the tests with faults: its rows, its writers, and the model of what it must be at the end."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psycopg

from tests.faults.canaries import ROW_TEXT
from tests.support.models import stub_vector
from tests.support.tables import Key, vectors
from tests.support.writers import SharedState, Writer

ENTRY: Mapping[str, object] = {"model": "stub_failing", "batch_size": 32}
WRITERS = 3
# Actions of a writer on one connection, and the pause after them: a few hundred changes per second in all.
_ACTIONS = 10
_PAUSE_SECONDS = 0.1
_MAX_CHANGED_AT_ONCE = 50

# Records what the product changes in the columns of the application, which is nothing at all.
_RECORD_FOREIGN_CHANGES = """
CREATE TABLE foreign_change (operation TEXT, id INT8);
CREATE FUNCTION record_foreign_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('application_name') = 'crdbvec' AND (TG_OP <> 'UPDATE' OR
     (OLD.id, OLD.passage, OLD.updated, OLD.views) IS DISTINCT FROM (NEW.id, NEW.passage, NEW.updated, NEW.views)) THEN
    INSERT INTO public.foreign_change VALUES (TG_OP, coalesce(OLD.id, NEW.id));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER record_foreign_change AFTER INSERT OR UPDATE OR DELETE ON passage
  FOR EACH ROW EXECUTE FUNCTION record_foreign_change();
"""


def create_passages(connection: psycopg.Connection, rows: int) -> None:
    """Create the table of the writers with rows whose texts contain the canary."""
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, updated TIMESTAMPTZ, views INT8)")
    connection.execute(
        "INSERT INTO passage (id, passage, updated)"
        " SELECT n, 'passage ' || n || ' ' || %s::TEXT, now() FROM generate_series(0, %s - 1) n",
        (ROW_TEXT, rows),
    )
    connection.execute(_RECORD_FOREIGN_CHANGES)


@contextmanager
def live_writers(url: str, rows: int, seed: int) -> Iterator[SharedState]:
    """Let writers change the table, each on new connections again and again, also after a restart of the server."""
    state = SharedState(rows, suffix=f" {ROW_TEXT}", changed_at_once=_MAX_CHANGED_AT_ONCE)
    stop = threading.Event()

    def write(number: int) -> None:
        writer = Writer(number, url, seed, state, None)
        while not stop.wait(_PAUSE_SECONDS):
            with suppress(psycopg.OperationalError):
                writer.run(_ACTIONS, stop)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def correct_rejected(connection: psycopg.Connection) -> None:
    """Replace the texts that the model rejects, so that every row can be embedded."""
    connection.execute(
        "UPDATE passage SET passage = 'corrected ' || id, updated = now() WHERE passage LIKE 'REJECTED%'"
    )


def assert_table_is_right(connection: psycopg.Connection) -> None:
    """Assert that every row has the vector of its text, or none without a text, and that only writers changed texts."""
    found = vectors(connection)
    texts: dict[int, str | None] = dict(connection.execute("SELECT id, passage FROM passage").fetchall())
    expected: dict[Key, list[float] | None] = {
        (key,): stub_vector(text).tolist() if text and text.strip() else None for key, text in texts.items()
    }
    assert found.keys() == expected.keys()
    wrong = {
        key: vector for key, vector in found.items() if (None if vector is None else vector.tolist()) != expected[key]
    }
    assert wrong == {}
    assert any(vector is not None for vector in expected.values())
    assert connection.execute("SELECT operation, id FROM foreign_change").fetchall() == []
