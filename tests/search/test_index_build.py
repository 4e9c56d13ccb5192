"""The build of the vector index once enough rows have their vector."""

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.search.index_build import CoverageTooLow, build_when_covered
from tests.support.models import stub
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows, set_text
from tests.support.work import embed


def spec(**index: object) -> VectorColumn:
    return column(model="stub_hash", index=index)


def opened(database: Database, spec: VectorColumn) -> BoundColumn:
    return open_column(database, spec, stub("stub_hash"))


def build(database: Database, spec: VectorColumn, *, replace: bool = False) -> bool:
    return build_when_covered(opened(database, spec), replace=replace)


def exists(database: Database, spec: VectorColumn) -> bool:
    index = VectorIndex(opened(database, spec))
    return index.name in index.existing()


def test_index_is_built_once_when_every_row_with_an_input_has_its_vector(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one", "two", None, "  "])
    embed(database, spec())
    assert build(database, spec())
    assert exists(database, spec())
    assert not build(database, spec())


def test_below_min_coverage_nothing_is_built_and_the_error_says_what_to_do(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(8)])
    embed(database, spec(), batch_size=6, max_batches=1)
    with pytest.raises(CoverageTooLow) as error:
        build(database, spec())
    assert str(error.value) == (
        "Only 75.0% of the rows of public.passage that have an input have a current vector in passage_vector; the "
        "index build requires 100.0%, because inserting into an indexed column is slow. Run `crdbvec embed` first, or "
        "lower index.min_coverage."
    )
    assert not exists(database, spec())
    assert build(database, spec(min_coverage=0.75))


@pytest.mark.parametrize("change", ["edited", "new"])
def test_pending_row_lowers_the_coverage(database: Database, connection: psycopg.Connection, change: str) -> None:
    create_table(connection, texts=["one", "two"])
    embed(database, spec())
    if change == "edited":
        set_text(connection, INT_SHAPE, 0, "another")
    else:
        insert_rows(connection, INT_SHAPE, {2: "three"})
    with pytest.raises(CoverageTooLow):
        build(database, spec())
    embed(database, spec())
    assert build(database, spec())


@pytest.mark.parametrize("texts", [["one"], []])
def test_table_without_the_vector_column_gets_no_index(
    database: Database, connection: psycopg.Connection, texts: list[str | None]
) -> None:
    create_table(connection, texts=texts)
    sentence = r"^public\.passage has no vector column passage_vector yet\. Run `crdbvec embed` first\.$"
    with pytest.raises(CoverageTooLow, match=sentence):
        build(database, spec())


def test_index_that_differs_is_replaced_only_on_request(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one", "two"])
    embed(database, spec())
    build(database, spec(metric="l2"))
    with pytest.raises(TableError, match=r"Run `crdbvec index build --replace`\.$"):
        build(database, spec(metric="ip"))
    assert build(database, spec(metric="ip"), replace=True)


def test_dimension_of_the_model_is_compared_with_the_column(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["one"])
    embed(database, spec())
    connection.execute("ALTER TABLE passage DROP COLUMN passage_vector")
    connection.execute("ALTER TABLE passage ADD COLUMN passage_vector VECTOR(3)")
    with pytest.raises(TableError, match="takes vectors of dimension 3, but those of the model stub_hash have 8"):
        build(database, spec())
