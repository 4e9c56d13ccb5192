"""The index comes last: built when enough rows have their vector, and not before."""

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.indexing import NotCovered, build_when_covered, open_index
from tests.support.models import stub
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text
from tests.support.work import embed


def spec(**index: object) -> VectorColumn:
    return column(model="stub_hash", index=index)


def build(database: Database, column: VectorColumn, *, replace: bool = False) -> bool:
    return build_when_covered(database, column, stub("stub_hash"), replace=replace)


def exists(database: Database, column: VectorColumn) -> bool:
    index = open_index(database, column, stub("stub_hash"))
    return index.name in index.existing()


def test_an_index_is_built_when_every_row_with_an_input_has_its_vector(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one", "two", None, "  "])
    embed(database, spec())
    assert build(database, spec())
    assert exists(database, spec())
    assert not build(database, spec())


def test_below_the_wanted_share_nothing_is_built_and_the_sentence_says_what_to_do(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(8)])
    embed(database, spec(), batch_size=6, max_batches=1)
    with pytest.raises(NotCovered) as refusal:
        build(database, spec())
    assert str(refusal.value) == (
        "75.0% of the rows of public.passage that have an input have a fresh vector in passage_vector, and the index "
        "is built from 100.0% on, since filling an indexed column is slow; embed the rest first, or lower "
        "index.min_coverage."
    )
    assert not exists(database, spec())
    assert build(database, spec(min_coverage=0.75))


@pytest.mark.parametrize("change", ["edited", "new"])
def test_a_row_that_is_pending_again_counts_against_it(
    database: Database, connection: psycopg.Connection, change: str
) -> None:
    create_table(connection, texts=["one", "two"])
    embed(database, spec())
    if change == "edited":
        set_text(connection, INT_SHAPE, 0, "another")
    else:
        insert_rows(connection, INT_SHAPE, {2: "three"})
    with pytest.raises(NotCovered):
        build(database, spec())
    embed(database, spec())
    assert build(database, spec())


@pytest.mark.parametrize("texts", [["one"], []])
def test_a_table_that_has_no_vector_column_yet_gets_no_index(
    database: Database, connection: psycopg.Connection, texts: list[str | None]
) -> None:
    create_table(connection, texts=texts)
    sentence = r"^public\.passage has no vector column passage_vector yet; run crdbvec embed first\.$"
    with pytest.raises(NotCovered, match=sentence):
        build(database, spec())


def test_an_existing_index_that_differs_is_replaced_only_where_that_is_asked_for(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one", "two"])
    embed(database, spec())
    build(database, spec(metric="l2"))
    with pytest.raises(TableError, match=r"crdbvec index build --replace\.$"):
        build(database, spec(metric="ip"))
    assert build(database, spec(metric="ip"), replace=True)


def test_the_models_dimension_is_checked_against_the_column(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    embed(database, spec())
    connection.execute("ALTER TABLE passage DROP COLUMN passage_vector")
    connection.execute("ALTER TABLE passage ADD COLUMN passage_vector VECTOR(3)")
    with pytest.raises(TableError, match="takes vectors of dimension 3, but the model stub_hash makes 8"):
        build(database, spec())
