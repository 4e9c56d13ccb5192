"""Tables whose rows have several chunks: texts, the stored chunks, and what they must be."""

import json
import random
from collections.abc import Collection, Mapping

import numpy as np
import psycopg
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.table import chunk_table_name
from crdbvec_pipelines.encoding.chunks.chunk_encoder import ChunkEncoder
from crdbvec_pipelines.keyspace import Bound
from tests.support.models import registry, stub
from tests.support.tables import INT_SHAPE, KeyShape, column

Chunk = tuple[int, int, str]
"""Start, end and text."""

SIZE = {"size": 20, "overlap": 4}


def chunked(**values: object) -> VectorColumn:
    """Return the entry of the test tables with small chunks."""
    return column(**{"model": "stub_hash", "long_inputs": "chunks", "chunks": SIZE, **values})


def long_text(seed: int, words: int) -> str:
    """Return a text of sentences and paragraphs, the same one for the same seed."""
    choose = random.Random(seed)
    parts = []
    for number in range(words):
        parts.append("".join(choose.choices("abcdefgh é", k=choose.randint(1, 9))).strip() or "x")
        parts.append("\n\n" if number % 50 == 49 else ". " if number % 9 == 8 else " ")
    return "".join(parts)


def stored_chunks(
    connection: psycopg.Connection, spec: VectorColumn, key: Collection[str] = INT_SHAPE.columns
) -> dict[Bound, list[tuple[int, int, np.ndarray]]]:
    """Return start, end and vector of the chunks of each row, in their order; their numbers have no gap."""
    name = chunk_table_name(spec)
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    rows = connection.execute(
        sql.SQL("SELECT chunk_number, chunk_start, chunk_end, {}::text, {} FROM {} ORDER BY {}, chunk_number").format(
            sql.Identifier(spec.output), keys, sql.Identifier(*name), keys
        )
    ).fetchall()
    found: dict[Bound, list[tuple[int, int, np.ndarray]]] = {}
    for number, start, end, vector, *values in rows:
        chunks = found.setdefault(tuple(values), [])
        assert number == len(chunks)
        chunks.append((start, end, np.array(json.loads(vector), np.float32)))
    return found


def counts(
    connection: psycopg.Connection, spec: VectorColumn, key: Collection[str] = INT_SHAPE.columns
) -> dict[Bound, int | None]:
    """Return the number of chunks in each source row."""
    keys = sql.SQL(", ").join(map(sql.Identifier, key))
    rows = connection.execute(
        sql.SQL("SELECT {}, {} FROM {}").format(sql.Identifier(spec.output), keys, sql.Identifier(*spec.table))
    )
    return {tuple(values): count for count, *values in rows.fetchall()}


def check_chunks(
    connection: psycopg.Connection, spec: VectorColumn, texts: Mapping[int, str | None], shape: KeyShape = INT_SHAPE
) -> None:
    """Assert that the stored chunks are those of a recomputation from the texts, and that there are no others."""
    expected = {shape.key(number): text for number, text in texts.items() if text and not text.isspace()}
    check_chunks_of_keys(connection, spec, expected, shape.columns)


def check_chunks_of_keys(
    connection: psycopg.Connection, spec: VectorColumn, texts: Mapping[Bound, str], key: Collection[str]
) -> None:
    """Assert the same of the texts with content by key, whose columns have these names."""
    encoder = registry().encoder_of(spec)
    assert isinstance(encoder, ChunkEncoder)
    model = stub(spec.model)
    stored = stored_chunks(connection, spec, key)
    assert stored.keys() == texts.keys()
    for values, spans in zip(texts, encoder.divide(list(texts.values())), strict=True):
        assert [(start, end) for start, end, _ in stored[values]] == spans
        for start, end, vector in stored[values]:
            assert np.array_equal(vector, model.encode([(0, texts[values][start:end])]).vectors[0])
    present = {values: count for values, count in counts(connection, spec, key).items() if count is not None}
    assert present == {values: len(chunks) for values, chunks in stored.items()}
