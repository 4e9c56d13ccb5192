"""A model migration with live writers and a search every 50 ms, whose commands are killed at random moments.

The ordinary suite runs a short form. `make stress` migrates a table of CRDBVEC_STRESS_ROWS rows and kills the commands
CRDBVEC_MIGRATION_KILLS times.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import registry, stub
from tests.support.processes import run_crdbvec, start_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import column, create_table
from tests.support.vectors import preferring_indexes
from tests.support.waiting import wait_until

ROWS = int(os.environ.get("CRDBVEC_STRESS_ROWS", "150"))
KILLS = int(os.environ.get("CRDBVEC_MIGRATION_KILLS", "2"))
# A new seed for each long run.
SEED = random.randrange(1_000_000) if KILLS > 2 else 1
SECOND = "passage_vector_second"
_MAX_KILL_SECONDS = 4.0
_WAIT_SECONDS = 3_600


class Searches(threading.Thread):
    """Searches every 50 ms, with what each of them needed."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.errors: list[str] = []
        self.reasons: Counter[str] = Counter()
        self.retries: Counter[int] = Counter()
        self._url = url
        self._ended = threading.Event()

    def run(self) -> None:
        with Database(self._url) as database:
            searcher = Searcher(database, column(model="stub_hash", index={}), stub("stub_hash"), registry().encoder_of)
            opened = 0
            open_again = searcher._use

            def counted(*arguments: Any) -> None:
                nonlocal opened
                opened += 1
                open_again(*arguments)

            searcher._use = counted  # type: ignore[method-assign, assignment]
            while not self._ended.wait(0.05):
                opened = 0
                try:
                    (result,) = searcher.search_texts(["text 7"], SearchQuery(limit=3))
                except Exception as error:
                    self.errors.append(repr(error))
                else:
                    self.reasons[result.reason] += 1
                    self.retries[opened] += 1

    def end(self) -> None:
        self._ended.set()
        self.join(120)


class Writes(threading.Thread):
    """An application that inserts, edits and deletes rows."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.errors: list[str] = []
        self.count = 0
        self._url = url
        self._ended = threading.Event()
        self._random = random.Random(SEED)

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ended.wait(0.2):
                self.count += 1
                row, text = self._random.randrange(ROWS), f"written {self.count}"
                try:
                    if self.count % 3 == 0:
                        connection.execute("UPDATE passage SET passage = %s WHERE id = %s", (text, row))
                    elif self.count % 7 == 0:
                        connection.execute("DELETE FROM passage WHERE id = %s", (row,))
                    else:
                        connection.execute("INSERT INTO passage VALUES (%s, %s)", (10**9 + self.count, text))
                except psycopg.Error as error:
                    self.errors.append(repr(error))

    def end(self) -> None:
        self._ended.set()
        self.join(120)


@contextmanager
def following(project: Path, url: str) -> Iterator[None]:
    process = start_crdbvec(["embed", "-F"], project, limit_seconds=_WAIT_SECONDS, CRDBVEC_URL=url)
    try:
        yield
        assert process.poll() is None, process.communicate()
    finally:
        process.terminate()
        process.communicate(timeout=120)


class Commands:
    """The commands of the migration, some of which are killed and run again."""

    def __init__(self, project: Path, url: str) -> None:
        self._project = project
        self._url = url
        self._random = random.Random(f"{SEED} kills")
        self.killed: Counter[str] = Counter()

    def run(self, *arguments: str, kills: int = 0) -> Any:
        """Run a command until it succeeds, after a number of attempts that are killed at random moments."""
        for _ in range(kills):
            process = start_crdbvec([*arguments, "--json"], self._project, CRDBVEC_URL=self._url)
            time.sleep(self._random.uniform(0, _MAX_KILL_SECONDS))
            process.kill()
            process.communicate()
            self.killed[arguments[1]] += 1
            # Whatever state it has left, `status` has a name for it.
            done = run_crdbvec(["migrate", "status", "--json"], self._project, CRDBVEC_URL=self._url)
            assert done.returncode == 0, done.stderr
            phases = [each["phase"] for each in json.loads(done.stdout)]
            if arguments[1] in ("switch", "rollback", "finish") and phases == [_AFTER[arguments[1]]]:
                # It was killed after its last statement.
                return None
        done = run_crdbvec([*arguments, "--json"], self._project, CRDBVEC_URL=self._url)
        assert done.returncode == 0, (arguments, done.stderr)
        return json.loads(done.stdout)


_AFTER = {"switch": "switched", "rollback": "started", "finish": "finished"}


def wrong(connection: psycopg.Connection, output: str, model: str) -> list[Any]:
    """Return the keys of the rows whose vector is not that of a model and of their text."""
    encoder = stub(model)
    rows = connection.execute(f"SELECT id, passage, {output}::real[] FROM passage").fetchall()
    expected = encoder.encode([(key, text) for key, text, _ in rows]).vectors
    return [
        key
        for (key, _, vector), right in zip(rows, expected, strict=True)
        if vector is None or max(abs(right - vector)) > 1e-6
    ]


@pytest.mark.parametrize("model", ["stub_wide", "stub_other"] if KILLS > 2 else ["stub_other"])
def test_migration_with_live_writers_and_searches(postgres: Server, tmp_path: Path, model: str) -> None:
    print(f"seed {SEED}")
    # Some rows are always pending, because the writers do not stop.
    write_config(tmp_path, {"model": "stub_hash", "index": {"min_coverage": 0.5}})
    with postgres.new_database() as plain, psycopg.connect(plain, autocommit=True) as connection:
        url = preferring_indexes(plain)
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
        commands = Commands(tmp_path, url)
        commands.run("embed")
        commands.run("index", "build")
        searches, writes = Searches(url), Writes(plain)
        with following(tmp_path, url):
            searches.start()
            writes.start()
            try:
                kills = -(-KILLS // 6)
                commands.run("migrate", "start", "-m", model, kills=kills)
                wait_until(lambda: commands.run("migrate", "status")[0].get("rows_behind") == 0, _WAIT_SECONDS)
                commands.run("index", "build", "-o", SECOND, kills=kills if KILLS > 2 else 0)
                for action in ("switch", "rollback", "switch") if KILLS > 2 else ("switch",):
                    commands.run("migrate", action, kills=kills)
                commands.run("migrate", "finish", kills=kills if KILLS > 2 else 0)
                # Searches continue after the migration.
                count = searches.reasons.total()
                wait_until(lambda: searches.reasons.total() > count + 20, _WAIT_SECONDS)
            finally:
                writes.end()
                searches.end()
            wait_until(lambda: not wrong(connection, "passage_vector", model), 300)
        print(f"{searches.retries=} {searches.reasons=} {writes.count=} {commands.killed=}")
        assert (searches.errors, writes.errors) == ([], [])
        assert [reason for reason in searches.reasons if not reason.startswith("Index scan on ")] == []
        assert max(searches.retries) <= 1
        assert wrong(connection, "passage_vector", model) == []
