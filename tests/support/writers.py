"""Concurrent writers that change a table at random, as applications do, while the table is followed."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

CONFLICTS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.UniqueViolation,
)


@dataclass
class SharedState:
    """The state that the writers of one stress test share.

    Attributes:
        ids: The number of keys that the writers use.
        suffix: The end of every text.
        changed_at_once: How many rows are changed by one statement that changes many; by default a tenth of the keys.
        repeatable: Texts that may be encoded twice, because their row got another key or was inserted again.
        actions: How often each action was run.
    """

    ids: int
    suffix: str = ""
    changed_at_once: int | None = None
    repeatable: set[str] = field(default_factory=set)
    actions: Counter[str] = field(default_factory=Counter)


class Writer:
    """One application: a connection, and a sequence of random actions.

    Args:
        number: The number of the writer; part of every text, so that each text is written once.
        url: The URL of the database.
        seed: The seed of the random actions.
        state: The state shared with the other writers.
        triggers_off: A statement that lets this session's updates bypass triggers, and one that reverts it; None if
            the server does not support it.
    """

    def __init__(
        self, number: int, url: str, seed: int, state: SharedState, triggers_off: tuple[str, str] | None
    ) -> None:
        self._number = number
        self._url = url
        self._random = random.Random(f"{seed} {number}")
        self._state = state
        self._triggers_off = triggers_off
        self._texts = 0
        self._weights: Mapping[Callable[[psycopg.Connection], None], int] = {
            self._update: 35,
            self._insert: 20,
            self._delete: 8,
            self._set_blank: 8,
            self._replace: 6,
            self._change_key: 5,
            self._touch: 6,
            self._set_rejected: 3,
            self._update_many: 2,
            self._bulk_load: 2 if triggers_off else 0,
        }

    def run(self, count: int, stop: threading.Event) -> None:
        """Run this many random actions, or until stopped."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            for _ in range(count):
                if stop.is_set():
                    return
                (action,) = self._random.choices(list(self._weights), list(self._weights.values()))
                # The server aborts one of two conflicting transactions; the writer continues with another action.
                with suppress(*CONFLICTS):
                    action(connection)
                    self._state.actions[action.__name__] += 1

    def _id(self) -> int:
        return self._random.randrange(self._state.ids)

    def _text(self) -> str:
        self._texts += 1
        return f"writer {self._number}, text {self._texts}{self._state.suffix}"

    def _update(self, connection: psycopg.Connection) -> None:
        connection.execute("UPDATE passage SET passage = %s, updated = now() WHERE id = %s", (self._text(), self._id()))

    def _insert(self, connection: psycopg.Connection) -> None:
        connection.execute(
            "INSERT INTO passage (id, passage, updated) VALUES (%s, %s, now()) ON CONFLICT (id) DO NOTHING",
            (self._id(), self._text()),
        )

    def _delete(self, connection: psycopg.Connection) -> None:
        connection.execute("DELETE FROM passage WHERE id = %s", (self._id(),))

    def _set_blank(self, connection: psycopg.Connection) -> None:
        text = self._random.choice([None, "", "  "])
        connection.execute("UPDATE passage SET passage = %s, updated = now() WHERE id = %s", (text, self._id()))

    def _replace(self, connection: psycopg.Connection) -> None:
        """Insert another row with the same key, half of the time with the same text."""
        with connection.transaction():
            key = self._id()
            deleted = connection.execute("DELETE FROM passage WHERE id = %s RETURNING passage", (key,)).fetchone()
            text = deleted[0] if deleted and self._random.random() < 0.5 else self._text()
            if text:
                self._state.repeatable.add(text)
            connection.execute("INSERT INTO passage (id, passage, updated) VALUES (%s, %s, now())", (key, text))

    def _change_key(self, connection: psycopg.Connection) -> None:
        """Give a row another key, which another row may have had before."""
        with connection.transaction():
            old, new = self._id(), self._id()
            changed = connection.execute(
                "UPDATE passage SET id = %s WHERE id = %s AND NOT EXISTS (SELECT 1 FROM passage WHERE id = %s) "
                "RETURNING passage",
                (new, old, new),
            ).fetchone()
            if changed and changed[0]:
                self._state.repeatable.add(changed[0])

    def _touch(self, connection: psycopg.Connection) -> None:
        """Update a row without a change of its input."""
        connection.execute(
            "UPDATE passage SET views = coalesce(views, 0) + 1, passage = passage, updated = now() WHERE id = %s",
            (self._id(),),
        )

    def _set_rejected(self, connection: psycopg.Connection) -> None:
        """Set a text that the model rejects."""
        connection.execute(
            "UPDATE passage SET passage = %s, updated = now() WHERE id = %s", (f"REJECTED {self._text()}", self._id())
        )

    def _update_many(self, connection: psycopg.Connection) -> None:
        start = self._id()
        connection.execute(
            "UPDATE passage SET passage = %s || id, updated = now() WHERE id BETWEEN %s AND %s",
            (f"{self._text()} of ", start, start + (self._state.changed_at_once or self._state.ids // 10)),
        )

    def _bulk_load(self, connection: psycopg.Connection) -> None:
        """Update many rows in a session whose updates bypass triggers."""
        assert self._triggers_off is not None
        disable, enable = self._triggers_off
        connection.execute(disable.encode())
        try:
            self._update_many(connection)
        finally:
            connection.execute(enable.encode())
