"""Search from Python: texts or a row in, hits or a DataFrame out."""

from collections.abc import Iterator
from uuid import UUID

import numpy as np
import pandas as pd
import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.search import Searcher, Wish, search_frame
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
    """The numbers of the texts, nearest first."""
    found = distances("cosine", np.stack([stub_vector(text) for text in TEXTS if text is not None]), stub_vector(query))
    return [int(number) for number in np.argsort(found, kind="stable")]


@pytest.fixture
def embedded(database: Database, connection: psycopg.Connection) -> Database:
    create_table(connection, texts=TEXTS)
    embed(database, SPEC)
    return database


def test_several_texts_are_answered_one_by_one(embedded: Database) -> None:
    first, second = searcher(embedded).texts(["text 7", "something else"], Wish(limit=4))
    assert (first.query, second.query) == ("text 7", "something else")
    assert [hit.input for hit in first.hits] == [f"text {number}" for number in nearest_numbers("text 7")[:4]]
    assert first.hits[0].distance == pytest.approx(0, abs=1e-6)
    wanted = nearest_numbers("something else")[:4]
    assert [hit.key for hit in second.hits] == [{"id": INT_SHAPE.key(number)[0]} for number in wanted]
    assert (first.how, first.by_index) == ("exactly, since there is no vector index", False)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_like_a_row_are_found_without_that_row(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, TEXTS)
    embed(database, SPEC)
    found = searcher(database).like(shape.key(7), Wish(limit=5))
    # As a command line gives it.
    as_text = searcher(database).like([str(value) for value in shape.key(7)], Wish(limit=5))
    itself, *others = nearest_numbers("text 7")[:6]
    assert itself == 7
    assert [tuple(hit.key.values()) for hit in found.hits] == [shape.key(number) for number in others]
    assert as_text.hits == found.hits
    assert found.query == ", ".join(map(str, shape.key(7)))


def test_rows_like_a_row_may_be_filtered_too(embedded: Database, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE passage ADD COLUMN half TEXT")
    connection.execute("UPDATE passage SET half = CASE WHEN passage < 'text 2' THEN 'first' ELSE 'second' END")
    wish = Wish(limit=5, where={"half": ["first"]}, columns=("half",))
    hits = searcher(embedded).like(INT_SHAPE.key(7), wish).hits
    wanted = [f"text {number}" for number in nearest_numbers("text 7") if f"text {number}" < "text 2" and number != 7]
    assert [hit.input for hit in hits] == wanted[:5]
    assert {hit.columns["half"] for hit in hits} == {"first"}


def test_a_frame_has_a_row_a_hit_and_a_column_for_each_thing_known(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, COMPOSITE_SHAPE, TEXTS)
    connection.execute("ALTER TABLE passage ADD COLUMN price FLOAT8")
    connection.execute("UPDATE passage SET price = verse / 2.0")
    embed(database, SPEC)
    frame = search_frame(database, SPEC, stub("stub_hash"), ["text 7", "text 9"], Wish(limit=3, columns=("price",)))
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


def test_a_frame_finds_ten_if_nothing_is_said(embedded: Database) -> None:
    assert search_frame(embedded, SPEC, stub("stub_hash"), ["a"]).shape == (10, 4)


@pytest.mark.parametrize("texts", [[], ["text 7"]])
def test_a_frame_without_hits_has_its_columns_all_the_same(
    database: Database, connection: psycopg.Connection, texts: list[str]
) -> None:
    create_table(connection, UUID_SHAPE)
    embed(database, SPEC)
    frame = search_frame(database, SPEC, stub("stub_hash"), texts, Wish(columns=("id",)))
    assert list(frame.columns) == ["query", "distance", "id", "input"]
    assert len(frame) == 0
    assert pd.concat([frame, frame])["distance"].dtype == np.float64


def test_keys_keep_their_types(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, TEXTS)
    embed(database, SPEC)
    frame = search_frame(database, SPEC, stub("stub_hash"), ["text 7"])
    assert all(isinstance(key, UUID) for key in frame["id"])


def run_as_printed(connection: psycopg.Connection, text: str) -> list[tuple[object, ...]]:
    """What psql would show of a text of statements, one a line: the rows of the last one."""
    rows = []
    for line in text.splitlines():
        cursor = connection.execute(line.encode())
        rows = cursor.fetchall() if cursor.description else []
    return rows


def test_the_sql_of_texts_and_of_a_row_gives_their_rows(embedded: Database, connection: psycopg.Connection) -> None:
    search = searcher(embedded)
    wish = Wish(limit=5, columns=("id",))
    texts = search.sql(["text 7", "it's 100% %(limit)s"], wish)
    (like,) = search.sql([], wish, INT_SHAPE.key(3))
    found = [*search.texts(["text 7", "it's 100% %(limit)s"], wish), search.like(INT_SHAPE.key(3), wish)]
    for text, each in zip([*texts, like], found, strict=True):
        rows = run_as_printed(connection, text)
        key = INT_SHAPE.columns
        assert rows == [(hit.distance, hit.input, *(hit.key[name] for name in key), hit.key["id"]) for hit in each.hits]


@pytest.mark.parametrize("exact", [True, False])
def test_a_template_that_looks_like_a_parameter_is_searched_printed_and_explained(
    database: Database, connection: psycopg.Connection, exact: bool
) -> None:
    spec = column(model="stub_hash", template="100% {passage} %(limit)s it's", index={"metric": "cosine"})
    create_table(connection, texts=TEXTS)
    embed(database, spec)
    search = searcher(database, spec)
    wish = Wish(limit=3, exact=exact)
    (found,) = search.texts(["100% text 7 %(limit)s it's"], wish)
    assert found.hits[0].input == "100% text 7 %(limit)s it's"
    assert found.hits[0].distance == pytest.approx(0, abs=1e-6)
    (text,) = search.sql(["100% text 7 %(limit)s it's"], wish)
    assert [row[1] for row in run_as_printed(connection, text)] == [hit.input for hit in found.hits]
    assert search.explain(["a"], wish)[0]


def test_each_search_has_its_plan(embedded: Database) -> None:
    plans = searcher(embedded).explain(["one", "two"], Wish(), INT_SHAPE.key(3))
    assert len(plans) == 3
    assert all(len(lines) > 1 for lines in plans)


def test_a_table_without_the_vector_column_is_told_what_comes_first(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=TEXTS)
    sentence = r"^public\.passage has no vector column passage_vector yet; run crdbvec embed first\.$"
    with pytest.raises(TableError, match=sentence):
        searcher(database)


def test_another_models_column_is_refused(embedded: Database) -> None:
    with pytest.raises(TableError, match="takes vectors of dimension 8, but the model hf_st_all_minilm_l6 makes 384"):
        Searcher(embedded, column(model="hf_st_all_minilm_l6"), registry().load("hf_st_all_minilm_l6"))


@pytest.fixture(scope="module")
def animals(server: Server) -> Iterator[Database]:
    """A few sentences with the vectors that a real model gives them."""
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
def test_what_is_meant_is_found_though_no_word_is_the_same(animals: Database, query: str, found: str) -> None:
    model = registry().load("hf_st_all_minilm_l6")
    ((first, *_),) = [each.hits for each in Searcher(animals, column(model=model.name), model).texts([query], Wish())]
    assert first.input == found
    assert 0 < first.distance < 1
