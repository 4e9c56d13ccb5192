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
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from benchmarks.table_locks import LockWatch
from crdbvec_pipelines.chunk_set import ChunkSet
from crdbvec_pipelines.config import ChunksSpec, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import registry
from tests.support.processes import CRDBVEC, run, start_crdbvec
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
# The built-in model rounds its numbers, which differ with the batch; vectors of two texts differ by more than this.
_TOLERANCE = {"hf_st_all_minilm_l6": 0.1}
_WAIT_SECONDS = 3_600


@dataclass(frozen=True)
class Case:
    """A migration.

    Attributes:
        old: The old model.
        new: The new model.
        has_chunks: Whether a row has several vectors; the new model then divides texts into smaller chunks.
    """

    old: str
    new: str
    has_chunks: bool = False

    @property
    def rows(self) -> int:
        """The number of rows; those with chunks have several vectors each."""
        return ROWS // 4 if self.has_chunks and KILLS > 2 else ROWS

    @property
    def entry(self) -> dict[str, Any]:
        """The values of the entry. Some rows are always pending, because the writers do not stop."""
        chunks = {"long_inputs": "chunks", "chunks": {"size": 20, "overlap": 4}} if self.has_chunks else {}
        return {"model": self.old, "index": {"min_coverage": 0.5}, **chunks}

    @property
    def start_options(self) -> list[str]:
        """The options of the start."""
        return ["--chunk-size", "12", "--chunk-overlap", "2"] if self.has_chunks else []

    def spec(self, model: str) -> VectorColumn:
        """Return the column by one of the two models."""
        spec = column(**self.entry)
        if model == self.old:
            return spec
        return spec.with_model(model, ChunksSpec(size=12, overlap=2) if self.has_chunks else None)

    def text(self, start: str) -> str:
        """Return a text with a start, long enough for several chunks if there are chunks."""
        if not self.has_chunks:
            return start
        return " ".join([start, *(f"{start} word {number}." for number in range(len(start) % 7 + 4))])


CASES = (
    [
        Case("hf_st_all_minilm_l6", "stub_wide"),
        Case("stub_hash", "stub_other"),
        Case("stub_hash", "stub_other", has_chunks=True),
    ]
    if KILLS > 2
    else [Case("stub_hash", "stub_other"), Case("stub_hash", "stub_wide", has_chunks=True)]
)


class Searches(threading.Thread):
    """Searches every 50 ms, with what each of them needed."""

    def __init__(self, url: str, spec: VectorColumn) -> None:
        super().__init__(daemon=True)
        self.errors: list[str] = []
        self.reasons: Counter[str] = Counter()
        self.retries: Counter[int] = Counter()
        self.longest_seconds = 0.0
        self._url = url
        self._spec = spec
        self._ended = threading.Event()

    def run(self) -> None:
        with Database(self._url) as database:
            encoder = registry().encoder_of(self._spec)
            searcher = Searcher(database, self._spec, encoder, registry())
            opened = 0
            open_again = searcher._use

            def counted(*arguments: Any) -> None:
                nonlocal opened
                opened += 1
                open_again(*arguments)

            searcher._use = counted  # type: ignore[method-assign, assignment]
            while not self._ended.wait(0.05):
                opened = 0
                started = time.perf_counter()
                try:
                    (result,) = searcher.search_texts(["text 7"], SearchQuery(limit=3))
                except Exception as error:
                    self.errors.append(repr(error))
                else:
                    self.reasons[result.reason] += 1
                    self.retries[opened] += 1
                self.longest_seconds = max(self.longest_seconds, time.perf_counter() - started)

    def end(self) -> None:
        self._ended.set()
        self.join(120)


class Writes(threading.Thread):
    """An application that inserts, edits and deletes rows."""

    def __init__(self, url: str, case: Case) -> None:
        super().__init__(daemon=True)
        self.errors: list[str] = []
        self.count = 0
        self.longest_seconds = 0.0
        self.paused = threading.Event()
        self._url = url
        self._ended = threading.Event()
        self._random = random.Random(SEED)
        self._case = case

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ended.wait(0.2):
                if self.paused.is_set():
                    continue
                self.count += 1
                row, text = self._random.randrange(self._case.rows), self._case.text(f"written {self.count}")
                started = time.perf_counter()
                try:
                    if self.count % 3 == 0:
                        connection.execute("UPDATE passage SET passage = %s WHERE id = %s", (text, row))
                    elif self.count % 7 == 0:
                        connection.execute("DELETE FROM passage WHERE id = %s", (row,))
                    else:
                        connection.execute("INSERT INTO passage VALUES (%s, %s)", (10**9 + self.count, text))
                except psycopg.Error as error:
                    self.errors.append(repr(error))
                self.longest_seconds = max(self.longest_seconds, time.perf_counter() - started)

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
        self.exchanges: list[tuple[float, float]] = []
        self._seconds = _MAX_KILL_SECONDS

    def run(self, *arguments: str, kills: int = 0) -> Any:
        """Run a command until it succeeds, after a number of attempts that are killed at random moments."""
        began = time.perf_counter()
        is_exchange = bool({"switch", "rollback"} & {*arguments})
        # Moments after the end of a short command would not interrupt it.
        longest = 1.2 * self._seconds if _AFTER.keys() & {*arguments} else _MAX_KILL_SECONDS
        for _ in range(kills):
            process = start_crdbvec([*arguments, "--json"], self._project, CRDBVEC_URL=self._url)
            time.sleep(self._random.uniform(0, longest))
            process.kill()
            process.communicate()
            self.killed[arguments[1]] += 1
            # Whatever state it has left, `status` has a name for it.
            done = self._complete("migrate", "status")
            assert done.returncode == 0, done.stderr
            phases = [each["phase"] for each in json.loads(done.stdout)]
            if arguments[1] in ("switch", "rollback", "finish") and phases == [_AFTER[arguments[1]]]:
                # It was killed after its last statement.
                if is_exchange:
                    self.exchanges.append((began, time.perf_counter()))
                return None
        started = time.perf_counter()
        done = self._complete(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        self._seconds = time.perf_counter() - started
        if is_exchange:
            self.exchanges.append((began, time.perf_counter()))
        return json.loads(done.stdout)

    def _complete(self, *arguments: str) -> CompletedProcess[str]:
        command = [*CRDBVEC, *arguments, "--json"]
        return run(command, self._project, {"CRDBVEC_URL": self._url}, limit_seconds=_WAIT_SECONDS)


_AFTER = {"switch": "switched", "rollback": "started", "finish": "finished"}


class Expected:
    """The vectors of a model for texts, each encoded once."""

    def __init__(self, spec: VectorColumn) -> None:
        self._encoder = registry().encoder_of(spec)
        self._has_chunks = spec.chunking is not None
        self._tolerance = _TOLERANCE.get(spec.model, 1e-5)
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def wrong(self, connection: psycopg.Connection, output: str) -> list[Any]:
        """Return the keys of the rows whose vectors are not those of the model and of their text."""
        vectors = f"ARRAY[{output}::text]"
        if self._has_chunks:
            vectors = (
                f"ARRAY(SELECT chunks.{output}::text FROM passage_{output}_chunks AS chunks "
                "WHERE chunks.id = passage.id ORDER BY chunk_number)"
            )
        rows = connection.execute(f"SELECT id, passage, {output} IS NULL, {vectors} FROM passage").fetchall()
        new = sorted({text for _, text, _, _ in rows} - self._vectors.keys())
        if new:
            encoded = self._encoder.encode(list(enumerate(new))).embeddings
            self._vectors.update(zip(new, map(_units, encoded), strict=True))
        return [key for key, text, is_missing, found in rows if is_missing or not self._are_right(text, found)]

    def _are_right(self, text: str, vectors: list[str]) -> bool:
        expected = self._vectors[text]
        found = _units(np.array([json.loads(vector) for vector in vectors], np.float32))
        return found.shape == expected.shape and float(np.abs(found - expected).max()) < self._tolerance


def _units(vectors: NDArray[np.float32] | ChunkSet) -> NDArray[np.float32]:
    """Return the vectors of a row, one in each line, with the length one."""
    lines = np.atleast_2d(vectors.vectors if isinstance(vectors, ChunkSet) else vectors)
    units: NDArray[np.float32] = lines / np.linalg.norm(lines, axis=1, keepdims=True)
    return units


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.old}-{case.new}{'-chunks' * case.has_chunks}")
def test_migration_with_live_writers_and_searches(postgres: Server, tmp_path: Path, case: Case) -> None:
    print(f"seed {SEED}")
    old, new, rows = case.old, case.new, case.rows
    write_config(tmp_path, case.entry)
    of_old, of_new = Expected(case.spec(old)), Expected(case.spec(new))
    with postgres.new_database() as plain, psycopg.connect(plain, autocommit=True) as connection:
        url = preferring_indexes(plain)
        create_table(connection, texts=[case.text(f"text {number}") for number in range(rows)])
        commands = Commands(tmp_path, url)
        commands.run("embed", "-t", "passage")
        commands.run("index", "build")
        searches, writes = Searches(url, case.spec(old)), Writes(plain, case)
        # With chunks, it is the table that is locked longest.
        locks = LockWatch(plain, "passage_passage_vector_chunks" if case.has_chunks else "passage")
        with following(tmp_path, url):
            for thread in (searches, writes, locks):
                thread.start()
            try:
                kills = -(-KILLS // 6)
                commands.run("migrate", "start", "-m", new, *case.start_options, kills=kills)
                wait_until(lambda: commands.run("migrate", "status")[0].get("rows_behind") == 0, _WAIT_SECONDS)
                commands.run("index", "build", "-o", SECOND, kills=kills if KILLS > 2 else 0)
                commands.run("migrate", "switch", kills=kills)
                # A command that ends before it is killed leaves kills to be done.
                while KILLS > 2 and commands.killed.total() < KILLS - 1:
                    for action in ("rollback", "switch"):
                        commands.run("migrate", action, kills=kills)
                # Neither column has a vector of the other model.
                writes.paused.set()
                wait_until(lambda: not of_new.wrong(connection, "passage_vector"), 300)
                wait_until(lambda: not of_old.wrong(connection, SECOND), 300)
                writes.paused.clear()
                commands.run("migrate", "finish", kills=kills if KILLS > 2 else 0)
                # Searches continue after the migration.
                count = searches.reasons.total()
                wait_until(lambda: searches.reasons.total() > count + 20, _WAIT_SECONDS)
            finally:
                for each in (writes, searches, locks):
                    each.end()
            wait_until(lambda: not of_new.wrong(connection, "passage_vector"), 300)
        held = [locks.longest(*exchange) for exchange in commands.exchanges]
        print(
            f"{old} to {new}{' with chunks' * case.has_chunks}, {rows:,} rows: {commands.killed=} "
            f"{searches.retries=} {searches.reasons=} "
            f"{writes.count=} longest search {searches.longest_seconds:.3f} s, longest write "
            f"{writes.longest_seconds:.3f} s, {len(held)} exchanges, longest lock {max(held) * 1_000:.1f} ms"
        )
        assert (searches.errors, writes.errors) == ([], [])
        assert [reason for reason in searches.reasons if not reason.startswith("Index scan on ")] == []
        assert max(searches.retries) <= 1
        assert of_new.wrong(connection, "passage_vector") == []
