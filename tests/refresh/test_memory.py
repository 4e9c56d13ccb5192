"""The memory for inputs: pages are limited by bytes, and all queues of a process share one budget."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest.mock import patch

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.pending_page import PendingPage
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.memory import MemoryBudget, input_bytes
from crdbvec_pipelines.refresh.report import RefreshReport
from tests.support.models import CallLog, stub
from tests.support.tables import INT_SHAPE, column, create_table, set_text, vectors
from tests.support.waiting import wait_until
from tests.support.work import embed, prepare

KIB = 1_024
UNEMBEDDED = Pass("unembedded")


class BlockedEncoder:
    """The hash stub, which encodes nothing before it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.largest = 0
        self._encoder = stub("stub_hash")

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        assert self.release.wait(60)
        self.largest = max(self.largest, sum(len(str(value)) for _, value in batch))
        return self._encoder.encode(batch, batch_index)


class ReadBytes:
    """Counts the bytes of the inputs that are read and not yet written."""

    def __init__(self) -> None:
        self.read = 0
        self._original = VectorRows.read

    def __call__(self, rows: VectorRows, *arguments: object, **options: object) -> PendingPage:
        page: PendingPage = self._original(rows, *arguments, **options)  # type: ignore[arg-type]
        self.read += input_bytes(page)
        return page


def long_texts(*lengths: int) -> list[str | None]:
    return [str(number).rjust(length, "x") for number, length in enumerate(lengths)]


def test_page_ends_before_its_inputs_exceed_the_limit(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=long_texts(100, 100, 100, 500, 100, 100))
    rows = prepare(database, column())

    def read(after: int | None, limit: int, max_bytes: int) -> tuple[list[int], int | None]:
        key = None if after is None else INT_SHAPE.key(after)
        page = rows.read(KeyRange(), UNEMBEDDED, key, limit, max_bytes=max_bytes)
        return [len(row.input) for row in page], page.next_bytes

    assert read(None, 10, 10_000) == ([100, 100, 100, 500, 100, 100], None)
    assert read(None, 3, 10_000) == ([100, 100, 100], None)
    assert read(None, 10, 299) == ([100, 100], 100)
    assert read(None, 10, 300) == ([100, 100, 100], 500)
    assert read(2, 10, 300) == ([], 500)
    assert read(2, 1, 500) == ([500], None)
    assert read(2, 10, 500) == ([500], 100)
    assert read(3, 10, 500) == ([100, 100], None)


@pytest.mark.parametrize(
    ("definition", "insert", "spec", "expected"),
    [
        ("passage BYTEA", "('\\x' || repeat('ff', 300))::bytea", {"input": "passage"}, 300),
        ("passage TEXT", "repeat('é', 150)", {"input": "passage"}, 300),
        ("passage JSONB", "to_jsonb(repeat('x', 298))", {"input": "passage"}, 300),
        ("passage TEXT, other TEXT", "repeat('x', 200), repeat('y', 100)", {"input": ["passage", "other"]}, 300),
        ("passage TEXT, other INT8", "repeat('x', 299), 7", {"template": "{passage}: {other}"}, 300),
        ("passage TEXT, other TEXT", "repeat('x', 300), NULL", {"input": ["passage", "other"]}, 300),
    ],
)
def test_length_of_an_input_is_that_of_its_columns(
    database: Database,
    connection: psycopg.Connection,
    definition: str,
    insert: str,
    spec: dict[str, object],
    expected: int,
) -> None:
    connection.execute(f"CREATE TABLE passage (id INT8 PRIMARY KEY, {definition})".encode())
    connection.execute(f"INSERT INTO passage SELECT n, {insert} FROM generate_series(1, 3) AS n".encode())
    rows = prepare(database, column(model="stub_hash", **spec))
    page = rows.read(KeyRange(), UNEMBEDDED, None, 10, max_bytes=expected - 1)
    assert (len(page), page.next_bytes) == (0, expected)
    page = rows.read(KeyRange(), UNEMBEDDED, None, 10, max_bytes=2 * expected)
    assert (len(page), page.next_bytes) == (2, expected)


def test_columns_with_the_names_of_derived_columns(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (crdbvec_bytes INT8 PRIMARY KEY, crdbvec_total TEXT)")
    connection.execute("INSERT INTO passage VALUES (1, 'a'), (2, 'bb')")
    page = prepare(database, column(input="crdbvec_total")).read(KeyRange(), UNEMBEDDED, None, 10, max_bytes=2)
    assert ([(row.key, row.input) for row in page], page.next_bytes) == ([((1,), "a")], 2)


def test_what_is_read_and_not_written_is_within_the_budget(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=long_texts(*[2 * KIB] * 400))
    memory, encoder, read = MemoryBudget(160 * KIB), BlockedEncoder(), ReadBytes()
    with (
        patch.object(VectorRows, "read", lambda *given, **options: read(*given, **options)),
        ThreadPoolExecutor(1) as pool,
    ):
        refreshing = pool.submit(
            embed, database, column(model="stub_hash"), encoder, batch_size=100, workers=8, memory=memory
        )
        try:
            # The reader waits for memory, or it has read everything.
            wait_until(lambda: bool(memory._waiting) or read.read >= 800 * KIB)
            # The first page is read twice: without and with the claim.
            assert read.read <= 160 * KIB + memory.page_bytes
        finally:
            encoder.release.set()
        assert refreshing.result().rows_embedded == 400
    assert memory._reserved == 0
    assert 0 < encoder.largest <= memory.page_bytes


def test_budget_is_shared_by_the_refreshes_of_a_process(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=long_texts(*[2 * KIB] * 400))
    prepare(database, column(model="stub_hash"))
    memory, encoder, read = MemoryBudget(160 * KIB), BlockedEncoder(), ReadBytes()
    middle = INT_SHAPE.key(200)

    def run(key_range: KeyRange) -> RefreshReport:
        spec = column(model="stub_hash")
        # The queues of one refresh have room for more than the budget, so both readers wait for memory, not for them.
        return embed(database, spec, encoder, key_range=key_range, batch_size=100, workers=8, memory=memory)

    with (
        patch.object(VectorRows, "read", lambda *given, **options: read(*given, **options)),
        ThreadPoolExecutor(2) as pool,
    ):
        refreshing = [pool.submit(run, KeyRange(None, middle)), pool.submit(run, KeyRange(middle, None))]
        try:
            wait_until(lambda: len(memory._waiting) == 2 or read.read >= 800 * KIB)
            # Both have read the first page twice: without and with their claim.
            assert read.read <= 160 * KIB + 2 * memory.page_bytes
        finally:
            encoder.release.set()
        assert sum(future.result().rows_embedded for future in refreshing) == 400
    assert memory._reserved == 0


def test_input_that_is_larger_than_the_budget_is_embedded_alone(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    lengths = [100, 50 * KIB, 100, 100, 600 * KIB, 700 * KIB, 100]
    create_table(connection, texts=long_texts(*lengths))
    memory = MemoryBudget(160 * KIB)
    assert embed(database, column(), batch_size=100, memory=memory).rows_embedded == len(lengths)
    assert [[len(text) for text in batch] for batch in calls.batches()] == [
        [100],
        [50 * KIB],
        [100, 100],
        [600 * KIB],
        [700 * KIB],
        [100],
    ]
    assert memory._reserved == 0


def test_batches_of_small_inputs_are_as_large_as_configured(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(1_000)])
    embed(database, column(), batch_size=300)
    assert [len(batch) for batch in calls.batches()] == [300, 300, 300, 100]


@pytest.mark.parametrize("fails", [True, False])
def test_refresh_that_ends_early_releases_its_memory(
    database: Database, connection: psycopg.Connection, calls: CallLog, fails: bool
) -> None:
    create_table(connection, texts=long_texts(*[2 * KIB] * 400))
    memory, stop = MemoryBudget(160 * KIB), threading.Event()

    def end() -> None:
        if fails:
            raise EncoderUnavailable("The model is unavailable.")
        stop.set()

    with suppress(EncoderUnavailable):
        embed(database, column(), EndingEncoder(end), batch_size=10, memory=memory, stop=stop)
    assert memory._reserved == 0
    assert 0 < sum(vector is None for vector in vectors(connection).values()) < 400


class EndingEncoder:
    """The counting stub, which ends the refresh at its third batch."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._encoder = stub()

    def encode(self, batch: Sequence[tuple[object, object]], batch_index: int = 0) -> EncodedBatch:
        if batch_index == 3:
            self._end()
        return self._encoder.encode(batch, batch_index)


def test_who_waits_first_for_memory_is_served_first() -> None:
    memory = MemoryBudget(100)
    assert memory.reserve(60, lambda: False) == 60
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(memory.reserve, 80, lambda: False)
        wait_until(lambda: len(memory._waiting) == 1)
        # 10 bytes are free, but they are for the one that waits.
        assert memory.reserve(10, lambda: False, wait=False) is None
        memory.release(60)
        assert waiting.result() == 80
    assert memory.reserve(10, lambda: False, wait=False) == 10


def test_who_waits_for_memory_ends_with_its_refresh() -> None:
    memory = MemoryBudget(100)
    assert memory.reserve(500, lambda: False) == 100
    assert memory.reserve(1, lambda: True) is None
    memory.release(100)
    assert memory.reserve(1, lambda: True) == 1


def test_large_row_that_is_edited_while_it_is_read(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=long_texts(100, 90 * KIB, 100))
    rows = prepare(database, column())
    original = VectorRows.read

    def read(self: VectorRows, *arguments: object, **options: object) -> PendingPage:
        page: PendingPage = original(self, *arguments, **options)  # type: ignore[arg-type]
        if page.next_bytes == 90 * KIB and not len(page):
            set_text(connection, INT_SHAPE, 1, "y" * 95 * KIB)
        return page

    with patch.object(VectorRows, "read", read):
        assert embed(database, column(), memory=MemoryBudget(160 * KIB)).rows_embedded == 3
    assert rows.count(KeyRange()).pending == 0
    assert [len(text) for text in calls.inputs()] == [100, 95 * KIB, 100]
