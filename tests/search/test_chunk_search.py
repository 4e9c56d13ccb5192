"""Searches over chunks: rows by their nearest chunk, the limit in rows, filters and tenants, and rows that changed."""

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.chunks.chunk_encoder import ChunkEncoder
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.frames import results_frame
from crdbvec_pipelines.search.index_build import build_text_index_when_covered, build_when_covered
from crdbvec_pipelines.search.result import SearchResult
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.chunks import SIZE, chunked, long_text
from tests.support.models import registry, stub, stub_vector
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text
from tests.support.vectors import preferring_indexes
from tests.support.work import embed, prepared

TEXTS: dict[int, str | None] = {number: long_text(number, 20 + number * 9 % 150) for number in range(40)}


def searcher_of(database: Database, spec: VectorColumn) -> Searcher:
    return Searcher(database, spec, registry().encoder_of(spec), registry())


def filled(database: Database, connection: psycopg.Connection, spec: VectorColumn) -> Searcher:
    create_table(connection)
    connection.execute("ALTER TABLE passage ADD COLUMN tenant INT8")
    insert_rows(connection, INT_SHAPE, TEXTS)
    connection.execute("UPDATE passage SET tenant = length(passage) % 3")
    embed(database, spec)
    return searcher_of(database, spec)


def expected(query: str, texts: dict[int, str | None] = TEXTS) -> list[tuple[float, int, tuple[int, int]]]:
    """Return the distance of the nearest chunk of each row, the number of the row, and the span of that chunk."""
    encoder = registry().encoder_of(chunked())
    assert isinstance(encoder, ChunkEncoder)
    vector = stub_vector(query)
    found = []
    for number, text in texts.items():
        if text is None:
            continue
        distances = []
        for start, end in encoder.divide([text])[0]:
            other = stub_vector(text[start:end])
            cosine = float(vector @ other / np.linalg.norm(vector) / np.linalg.norm(other))
            distances.append((1 - cosine, (start, end)))
        distance, span = min(distances)
        found.append((distance, number, span))
    return sorted(found)


@pytest.mark.parametrize("has_index", [False, True])
def test_rows_are_found_by_their_nearest_chunk(
    url: str, database: Database, connection: psycopg.Connection, has_index: bool
) -> None:
    spec = chunked(index={})
    filled(database, connection, spec)
    if has_index:
        assert build_when_covered(prepared(database, spec))
    with Database(preferring_indexes(url)) as preferring:
        (result,) = searcher_of(preferring, spec).search_texts(["query"], SearchQuery(limit=7))
    check_nearest(result, has_index=has_index)


def check_nearest(result: SearchResult, *, has_index: bool) -> None:
    """Assert that the hits are the nearest rows with their nearest chunks."""
    assert result.strategy == ("index_scan" if has_index else "exact_scan")
    nearest = expected("query")[:7]
    assert [hit.distance for hit in result.hits] == pytest.approx([each[0] for each in nearest], abs=1e-5)
    assert [tuple(hit.key.values()) for hit in result.hits] == [INT_SHAPE.key(each[1]) for each in nearest]
    for hit, (_, number, (start, end)) in zip(result.hits, nearest, strict=True):
        assert hit.chunk is not None
        assert (hit.chunk.start, hit.chunk.end) == (start, end)
        assert hit.chunk.text == str(TEXTS[number])[start:end]


def test_stored_texts_are_those_of_the_hits(database: Database, connection: psycopg.Connection) -> None:
    searcher = filled(database, connection, chunked(chunks={**SIZE, "store_text": True}))
    (result,) = searcher.search_texts(["query"], SearchQuery(limit=3))
    for hit in result.hits:
        assert hit.chunk is not None
        assert hit.chunk.text == hit.input[hit.chunk.start : hit.chunk.end]


def test_all_chunks_are_hits_of_their_own(database: Database, connection: psycopg.Connection) -> None:
    searcher = filled(database, connection, chunked())
    (result,) = searcher.search_texts(["query"], SearchQuery(limit=200, all_chunks=True))
    assert len(result.hits) > len(TEXTS)
    assert len({tuple(hit.key.values()) for hit in result.hits}) < len(result.hits)
    assert [hit.distance for hit in result.hits] == sorted(hit.distance for hit in result.hits)
    frame = results_frame(searcher, [result], SearchQuery())
    assert list(frame.columns)[-4:] == ["chunk_number", "chunk_start", "chunk_end", "chunk_text"]


def test_filters_and_tenants_limit_rows(database: Database, connection: psycopg.Connection) -> None:
    spec = chunked(index={"prefix": ["tenant"]})
    searcher = filled(database, connection, spec)
    late = str(INT_SHAPE.key(20)[0])
    for filters, condition in (({"tenant": 1}, "tenant = 1"), ({"id": {">=": late}}, f"id >= {late}")):
        (result,) = searcher.search_texts(["query"], SearchQuery(limit=50, filters=filters, columns=("tenant",)))
        rows = connection.execute(f"SELECT id, tenant FROM passage WHERE {condition}".encode()).fetchall()
        assert sorted((hit.key["id"], hit.columns["tenant"]) for hit in result.hits) == sorted(rows)


def test_rows_that_were_edited_are_not_found_until_they_are_embedded_again(
    database: Database, connection: psycopg.Connection
) -> None:
    searcher = filled(database, connection, chunked())
    nearest = expected("query")[0][1]
    set_text(connection, INT_SHAPE, nearest, "another text")
    (result,) = searcher.search_texts(["query"], SearchQuery(limit=50))
    assert INT_SHAPE.key(nearest) not in [tuple(hit.key.values()) for hit in result.hits]
    assert len(result.hits) == len(TEXTS) - 1
    embed(database, chunked())
    (result,) = searcher.search_texts(["another text"], SearchQuery(limit=1))
    assert result.hits[0].distance == pytest.approx(0, abs=1e-5)


def test_rows_similar_to_a_row(database: Database, connection: psycopg.Connection) -> None:
    searcher = filled(database, connection, chunked())
    result = searcher.search_like(INT_SHAPE.key(3), SearchQuery(limit=5))
    assert len(result.hits) == 5
    assert INT_SHAPE.key(3) not in [tuple(hit.key.values()) for hit in result.hits]


def test_hybrid_search_returns_rows_with_their_chunks(database: Database, connection: psycopg.Connection) -> None:
    spec = chunked(text_index={"language": "simple"})
    create_table(connection)
    insert_rows(connection, INT_SHAPE, {**TEXTS, 50: f"{long_text(9, 80)} xylophone {long_text(8, 80)}"})
    embed(database, spec)
    assert build_text_index_when_covered(prepared(database, spec))
    (result,) = searcher_of(database, spec).search_texts(["xylophone"], SearchQuery(limit=3, mode="hybrid"))
    first = result.hits[0]
    assert tuple(first.key.values()) == INT_SHAPE.key(50)
    assert first.ranks is not None
    assert first.ranks.keyword == 1
    assert first.distance == pytest.approx(next(each[0] for each in expected("xylophone", {50: first.input})), abs=1e-5)
    with pytest.raises(ConfigurationError, match="all_chunks"):
        searcher_of(database, spec).search_texts(["x"], SearchQuery(mode="hybrid", all_chunks=True))


def test_what_cannot_be_searched_is_said(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a"])
    embed(database, column(model="stub_hash"))
    with pytest.raises(ConfigurationError, match="one vector a row"):
        Searcher(database, column(model="stub_hash"), stub("stub_hash")).search_texts(
            ["a"], SearchQuery(all_chunks=True)
        )
    with pytest.raises(TableError, match=r"is of type public\.vector, but with long_inputs: chunks"):
        embed(database, chunked())
