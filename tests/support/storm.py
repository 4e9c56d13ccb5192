"""Writers that do to a table whatever applications do, all at once and at random, while it is followed."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

INTERRUPTIONS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.UniqueViolation,
)


@dataclass
class Weather:
    """What the writers of one storm share.

    Attributes:
        ids: keys that are, were or may be in use.
        repeatable: texts that a refresh may rightly see twice, since their row got another key or was made anew.
        done: how often each thing was done.
    """

    ids: int
    repeatable: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)


class Writer:
    """One application: a connection, and a chain of random deeds.

    Args:
        number: tells writers apart; part of every text, so that each text is written once.
        url: the database.
        seed: of the deeds.
        weather: shared with the other writers.
        triggers_off: a statement that lets this session's updates pass by triggers, and one that ends that; None where
            the server has none.
    """

    def __init__(
        self, number: int, url: str, seed: int, weather: Weather, triggers_off: tuple[str, str] | None
    ) -> None:
        self._number = number
        self._url = url
        self._random = random.Random(f"{seed} {number}")
        self._weather = weather
        self._triggers_off = triggers_off
        self._texts = 0
        self._deeds: Mapping[Callable[[psycopg.Connection], None], int] = {
            self._edit: 35,
            self._insert: 20,
            self._delete: 8,
            self._blank: 8,
            self._replace: 6,
            self._move: 5,
            self._touch: 6,
            self._spoil: 3,
            self._rewrite_many: 2,
            self._load: 2 if triggers_off else 0,
        }

    def run(self, deeds: int, stop: threading.Event) -> None:
        """Does so many things, or until stopped."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            for _ in range(deeds):
                if stop.is_set():
                    return
                (deed,) = self._random.choices(list(self._deeds), list(self._deeds.values()))
                # As any application whose transaction was chosen to make way: it does something else.
                with suppress(*INTERRUPTIONS):
                    deed(connection)
                    self._weather.done[deed.__name__] += 1

    def _id(self) -> int:
        return self._random.randrange(self._weather.ids)

    def _text(self) -> str:
        self._texts += 1
        return f"writer {self._number}, text {self._texts}"

    def _edit(self, connection: psycopg.Connection) -> None:
        connection.execute("UPDATE passage SET passage = %s, updated = now() WHERE id = %s", (self._text(), self._id()))

    def _insert(self, connection: psycopg.Connection) -> None:
        connection.execute(
            "INSERT INTO passage (id, passage, updated) VALUES (%s, %s, now()) ON CONFLICT (id) DO NOTHING",
            (self._id(), self._text()),
        )

    def _delete(self, connection: psycopg.Connection) -> None:
        connection.execute("DELETE FROM passage WHERE id = %s", (self._id(),))

    def _blank(self, connection: psycopg.Connection) -> None:
        text = self._random.choice([None, "", "  "])
        connection.execute("UPDATE passage SET passage = %s, updated = now() WHERE id = %s", (text, self._id()))

    def _replace(self, connection: psycopg.Connection) -> None:
        """Another row under the same key, at times with the same text."""
        with connection.transaction():
            key = self._id()
            gone = connection.execute("DELETE FROM passage WHERE id = %s RETURNING passage", (key,)).fetchone()
            text = gone[0] if gone and self._random.random() < 0.5 else self._text()
            if text:
                self._weather.repeatable.add(text)
            connection.execute("INSERT INTO passage (id, passage, updated) VALUES (%s, %s, now())", (key, text))

    def _move(self, connection: psycopg.Connection) -> None:
        """A row gets another key, which may have been somebody's before."""
        with connection.transaction():
            old, new = self._id(), self._id()
            moved = connection.execute(
                "UPDATE passage SET id = %s WHERE id = %s AND NOT EXISTS (SELECT 1 FROM passage WHERE id = %s) "
                "RETURNING passage",
                (new, old, new),
            ).fetchone()
            if moved and moved[0]:
                self._weather.repeatable.add(moved[0])

    def _touch(self, connection: psycopg.Connection) -> None:
        """An update that changes nothing that is embedded."""
        connection.execute(
            "UPDATE passage SET views = coalesce(views, 0) + 1, passage = passage, updated = now() WHERE id = %s",
            (self._id(),),
        )

    def _spoil(self, connection: psycopg.Connection) -> None:
        connection.execute(
            "UPDATE passage SET passage = %s, updated = now() WHERE id = %s", (f"POISON {self._text()}", self._id())
        )

    def _rewrite_many(self, connection: psycopg.Connection) -> None:
        start = self._id()
        connection.execute(
            "UPDATE passage SET passage = %s || id, updated = now() WHERE id BETWEEN %s AND %s",
            (f"{self._text()} of ", start, start + self._weather.ids // 10),
        )

    def _load(self, connection: psycopg.Connection) -> None:
        """A bulk load that passes by all triggers."""
        assert self._triggers_off is not None
        before, after = self._triggers_off
        connection.execute(before.encode())
        try:
            self._rewrite_many(connection)
        finally:
            connection.execute(after.encode())
