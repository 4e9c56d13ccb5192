"""Chunks while rows change: a reader never sees a part of a set, and a killed refresh is continued."""

import os
import random
import subprocess
import sys
import threading

import psycopg

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.chunks.chunk_encoder import ChunkEncoder
from tests.support.chunks import check_chunks, chunked, counts, long_text
from tests.support.models import registry
from tests.support.tables import INT_SHAPE, create_table, insert_rows, set_text
from tests.support.waiting import wait_until
from tests.support.work import embed

ROWS, EDITS = 12, 150
# One statement reads rows and chunks at one moment.
READ = (
    "SELECT p.id, p.passage_vector, array_agg(c.chunk_start ORDER BY c.chunk_number), "
    "array_agg(c.chunk_end ORDER BY c.chunk_number), max(c.chunk_number) FROM passage AS p "
    "LEFT JOIN passage_passage_vector_chunks AS c ON c.id = p.id WHERE p.passage_vector IS NOT NULL "
    "GROUP BY p.id, p.passage_vector"
)


def test_a_reader_never_sees_half_a_set_while_rows_are_edited_and_deleted(
    url: str, database: Database, connection: psycopg.Connection
) -> None:
    choose = random.Random(5)
    texts: dict[int, str | None] = {number: long_text(number, 60) for number in range(ROWS)}
    versions = {(INT_SHAPE.key(number)[0], text) for number, text in texts.items()}
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    embed(database, chunked())
    has_ended = threading.Event()
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    broken: list[object] = []

    def read() -> None:
        with psycopg.connect(url, autocommit=True) as reader:
            while not has_ended.is_set():
                for key, count, starts, ends, last in reader.execute(READ).fetchall():
                    seen.add((key, tuple(starts), tuple(ends)))
                    if (len(starts), last) != (count, count - 1):
                        broken.append((key, count, starts, last))

    def write(connection: psycopg.Connection, row: int, text: str) -> None:
        is_new = row not in texts
        texts[row] = text
        versions.add((INT_SHAPE.key(row)[0], text))
        insert_rows(connection, INT_SHAPE, {row: text}) if is_new else set_text(connection, INT_SHAPE, row, text)

    def edit() -> None:
        with psycopg.connect(url, autocommit=True) as writer:
            for number in range(EDITS):
                row = choose.randrange(ROWS)
                if row in texts and choose.random() < 0.1:
                    del texts[row]
                    writer.execute("DELETE FROM passage WHERE id = %s", INT_SHAPE.key(row))
                else:
                    write(writer, row, long_text(1_000 + number, choose.randint(1, 200)))
        has_ended.set()

    threads = [threading.Thread(target=work) for work in (read, edit)]
    for thread in threads:
        thread.start()
    while not has_ended.is_set():
        embed(database, chunked())
    for thread in threads:
        thread.join()
    embed(database, chunked())
    encoder = registry().encoder_of(chunked())
    assert isinstance(encoder, ChunkEncoder)
    divided = encoder.divide([str(text) for _, text in versions])
    allowed = {
        (key, tuple(start for start, _ in spans), tuple(end for _, end in spans))
        for (key, _), spans in zip(versions, divided, strict=True)
    }
    assert broken == []
    assert seen
    assert seen <= allowed
    check_chunks(connection, chunked(), texts)


def test_a_killed_refresh_is_continued(url: str, connection: psycopg.Connection) -> None:
    texts: dict[int, str | None] = {number: long_text(number, 120) for number in range(400)}
    create_table(connection)
    insert_rows(connection, INT_SHAPE, texts)
    code = (
        "import sys\n"
        "from crdbvec_pipelines.database.connection import Database\n"
        "from tests.support.chunks import chunked\n"
        "from tests.support.work import embed\n"
        "while True:\n"
        "    with Database(sys.argv[1]) as database:\n"
        "        embed(database, chunked(), batch_size=20)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, url], env=dict(os.environ)) as process:
        wait_until(lambda: _embedded(connection) > 0)
        process.kill()
    assert _embedded(connection) < len(texts)
    with Database(url) as database:
        embed(database, chunked())
    check_chunks(connection, chunked(), texts)


def _embedded(connection: psycopg.Connection) -> int:
    """Return the number of rows with chunks; 0 before the table is prepared."""
    try:
        return sum(1 for count in counts(connection, chunked()).values() if count is not None)
    except psycopg.errors.UndefinedColumn:
        return 0
