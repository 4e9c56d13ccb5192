"""Search from Python: by texts or by a row, with hits or a DataFrame as the result."""

from collections.abc import Iterator
from uuid import UUID

import numpy as np
import pandas as pd
import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.frames import search_frame
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import registry, stub, stub_vector
from tests.support.servers import Server
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, SHAPES, UUID_SHAPE, KeyShape, column, create_table
from tests.support.vectors import distances
from tests.support.work import embed

SPEC = column(model="stub_hash")
TEXTS: list[str | None] = [f"text {number}" for number in range(30)] + [None]


def searcher(database: Database, spec: VectorColumn = SPEC) -> Searcher:
    return Searcher(database, spec, stub(spec.model))


def nearest_numbers(query: str) -> list[int]:
    """Return the numbers of the texts, nearest first."""
    found = distances("cosine", np.stack([stub_vector(text) for text in TEXTS if text is not None]), stub_vector(query))
    return [int(number) for number in np.argsort(found, kind="stable")]


@pytest.fixture
def embedded(database: Database, connection: psycopg.Connection) -> Database:
    create_table(connection, texts=TEXTS)
    embed(database, SPEC)
    return database


def test_each_text_has_its_own_result(embedded: Database) -> None:
    first, second = searcher(embedded).search_texts(["text 7", "another text"], SearchQuery(limit=4))
    assert (first.query, second.query) == ("text 7", "another text")
    assert [hit.input for hit in first.hits] == [f"text {number}" for number in nearest_numbers("text 7")[:4]]
    assert first.hits[0].distance == pytest.approx(0, abs=1e-6)
    expected = nearest_numbers("another text")[:4]
    assert [hit.key for hit in second.hits] == [{"id": INT_SHAPE.key(number)[0]} for number in expected]
    assert (first.strategy, first.index) == ("exact_scan", None)
    assert first.reason == "Exact scan: there is no vector index."


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_similar_to_a_row_are_found_without_that_row(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, TEXTS)
    embed(database, SPEC)
    found = searcher(database).search_like(shape.key(7), SearchQuery(limit=5))
    # The command line passes text.
    as_text = searcher(database).search_like([str(value) for value in shape.key(7)], SearchQuery(limit=5))
    itself, *others = nearest_numbers("text 7")[:6]
    assert itself == 7
    assert [tuple(hit.key.values()) for hit in found.hits] == [shape.key(number) for number in others]
    assert as_text.hits == found.hits
    assert found.query == ", ".join(map(str, shape.key(7)))


def test_rows_similar_to_a_row_can_be_filtered(embedded: Database, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE passage ADD COLUMN half TEXT")
    connection.execute("UPDATE passage SET half = CASE WHEN passage < 'text 2' THEN 'first' ELSE 'second' END")
    query = SearchQuery(limit=5, filters={"half": ["first"]}, columns=("half",))
    hits = searcher(embedded).search_like(INT_SHAPE.key(7), query).hits
    expected = [f"text {number}" for number in nearest_numbers("text 7") if f"text {number}" < "text 2" and number != 7]
    assert [hit.input for hit in hits] == expected[:5]
    assert {hit.columns["half"] for hit in hits} == {"first"}


def test_frame_has_one_row_per_hit_and_a_column_for_each_value(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, COMPOSITE_SHAPE, TEXTS)
    connection.execute("ALTER TABLE passage ADD COLUMN price FLOAT8")
    connection.execute("UPDATE passage SET price = verse / 2.0")
    embed(database, SPEC)
    frame = search_frame(
        database, SPEC, stub("stub_hash"), ["text 7", "text 9"], SearchQuery(limit=3, columns=("price",))
    )
    assert list(frame.columns) == ["query", "distance", "realm", "chapter", "verse", "input", "price"]
    assert list(frame["query"]) == ["text 7"] * 3 + ["text 9"] * 3
    assert list(frame["input"]) == [
        f"text {number}" for query in ("text 7", "text 9") for number in nearest_numbers(query)[:3]
    ]
    assert frame["distance"].dtype == np.float64
    assert frame["verse"].dtype == np.int64
    assert frame["price"].dtype == np.float64
    assert list(frame["price"]) == [verse / 2 for verse in frame["verse"]]
    assert frame.groupby("query")["distance"].is_monotonic_increasing.all()


def test_frame_has_ten_rows_by_default(embedded: Database) -> None:
    assert search_frame(embedded, SPEC, stub("stub_hash"), ["a"]).shape == (10, 4)


@pytest.mark.parametrize("texts", [[], ["text 7"]])
def test_frame_without_hits_has_its_columns(
    database: Database, connection: psycopg.Connection, texts: list[str]
) -> None:
    create_table(connection, UUID_SHAPE)
    embed(database, SPEC)
    frame = search_frame(database, SPEC, stub("stub_hash"), texts, SearchQuery(columns=("id",)))
    assert list(frame.columns) == ["query", "distance", "id", "input"]
    assert len(frame) == 0
    assert pd.concat([frame, frame])["distance"].dtype == np.float64


def test_keys_keep_their_types(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, TEXTS)
    embed(database, SPEC)
    frame = search_frame(database, SPEC, stub("stub_hash"), ["text 7"])
    assert all(isinstance(key, UUID) for key in frame["id"])


def run_as_printed(connection: psycopg.Connection, text: str) -> list[tuple[object, ...]]:
    """Execute a text with one statement per line, and return the rows of the last statement."""
    rows = []
    for line in text.splitlines():
        cursor = connection.execute(line.encode())
        rows = cursor.fetchall() if cursor.description else []
    return rows


def test_sql_of_texts_and_of_a_row_returns_their_rows(embedded: Database, connection: psycopg.Connection) -> None:
    search = searcher(embedded)
    query = SearchQuery(limit=5, columns=("id",))
    texts = search.sql(["text 7", "it's 100% %(limit)s"], query)
    (like,) = search.sql([], query, INT_SHAPE.key(3))
    found = [
        *search.search_texts(["text 7", "it's 100% %(limit)s"], query),
        search.search_like(INT_SHAPE.key(3), query),
    ]
    for text, each in zip([*texts, like], found, strict=True):
        rows = run_as_printed(connection, text)
        assert rows == [(hit.distance, hit.input, hit.key["id"], hit.key["id"]) for hit in each.hits]


@pytest.mark.parametrize("exact", [True, False])
def test_template_that_looks_like_a_parameter_is_searched_printed_and_explained(
    database: Database, connection: psycopg.Connection, exact: bool
) -> None:
    spec = column(model="stub_hash", template="100% {passage} %(limit)s it's", index={"metric": "cosine"})
    create_table(connection, texts=TEXTS)
    embed(database, spec)
    search = searcher(database, spec)
    query = SearchQuery(limit=3, exact=exact)
    (found,) = search.search_texts(["100% text 7 %(limit)s it's"], query)
    assert found.hits[0].input == "100% text 7 %(limit)s it's"
    assert found.hits[0].distance == pytest.approx(0, abs=1e-6)
    (text,) = search.sql(["100% text 7 %(limit)s it's"], query)
    assert [row[1] for row in run_as_printed(connection, text)] == [hit.input for hit in found.hits]
    assert search.explain(["a"], query)[0]


def test_each_search_has_its_query_plan(embedded: Database) -> None:
    plans = searcher(embedded).explain(["one", "two"], SearchQuery(), INT_SHAPE.key(3))
    assert len(plans) == 3
    assert all(len(lines) > 1 for lines in plans)


def test_table_without_the_vector_column_is_an_error_that_says_what_to_run(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=TEXTS)
    sentence = r"^public\.passage has no vector column passage_vector yet\. Run `crdbvec embed` first\.$"
    with pytest.raises(TableError, match=sentence):
        searcher(database)


def test_column_of_a_model_with_another_dimension_is_an_error(embedded: Database) -> None:
    with pytest.raises(
        TableError, match="takes vectors of dimension 8, but those of the model hf_st_all_minilm_l6 have 384"
    ):
        Searcher(embedded, column(model="hf_st_all_minilm_l6"), registry().load("hf_st_all_minilm_l6"))


@pytest.fixture(scope="module")
def animals(server: Server) -> Iterator[Database]:
    """A few sentences with the vectors of a real model."""
    with (
        server.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create_table(
            connection,
            texts=[
                "a domesticated carnivore that barks",
                "a small feline kept as a pet",
                "a two-wheeled vehicle moved by foot pedals",
                "a flat round cake of fried batter",
                "the natural satellite of the Earth",
            ],
        )
        embed(database, column(model="hf_st_all_minilm_l6"))
        yield database


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("dog", "a domesticated carnivore that barks"),
        ("kitten", "a small feline kept as a pet"),
        ("bicycle", "a two-wheeled vehicle moved by foot pedals"),
        ("pancake", "a flat round cake of fried batter"),
        ("moon", "the natural satellite of the Earth"),
    ],
)
def test_text_with_the_same_meaning_and_other_words_is_found(animals: Database, query: str, found: str) -> None:
    model = registry().load("hf_st_all_minilm_l6")
    ((first, *_),) = [
        each.hits for each in Searcher(animals, column(model=model.name), model).search_texts([query], SearchQuery())
    ]
    assert first.input == found
    assert 0 < first.distance < 1
