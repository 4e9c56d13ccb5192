"""A column that holds vectors of two models: searches warn and name the share, or are an error for another metric."""

import warnings
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.library import Column
from crdbvec_pipelines.search.frames import search_frame
from crdbvec_pipelines.search.mixed_models import MixedModelsWarning
from crdbvec_pipelines.search.searcher import Searcher
from tests.cli.conftest import Invoke, Json, invoke, project, read_json  # noqa: F401
from tests.support.models import stub
from tests.support.projects import write_config
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table
from tests.support.work import FakeModel, embed, prepared

SPEC = column(model="stub_hash")
NEW = column(model="stub_other")
TEXTS: list[str | None] = [f"text {number}" for number in range(40)]


def searcher(database: Database, spec: VectorColumn) -> Searcher:
    return Searcher(database, spec, stub(spec.model))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_share_is_named_while_a_change_of_the_model_is_in_progress(
    database: Database, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, TEXTS)
    embed(database, SPEC)
    assert searcher(database, SPEC).warning is None
    assert str(searcher(database, NEW).warning).startswith("Nearly all of the vectors of public.passage.passage_vector")
    embed(database, NEW, batch_size=10, max_batches=1)
    warning = searcher(database, NEW).warning
    assert warning is not None
    assert "model than stub_other" in warning
    assert "Run `crdbvec embed`" in warning
    if len(shape.columns) == 1 and not isinstance(shape.key(0)[0], str):
        assert warning.startswith("About 75% of")
        assert "(30 of 40 sampled rows)" in warning
    # The old model finds a part of the rows, too.
    assert searcher(database, SPEC).warning is not None
    embed(database, NEW)
    assert searcher(database, NEW).warning is None
    assert str(searcher(database, SPEC).warning).startswith("Nearly all")


def test_rows_of_all_parts_of_a_large_table_are_sampled(database: Database, connection: psycopg.Connection) -> None:
    """A backfill in the order of the key must not look complete, or not begun, when it is half done."""
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(3_000)])
    embed(database, SPEC)
    embed(database, NEW, key_range=KeyRange(upper=INT_SHAPE.key(1_000)))
    warning = searcher(database, NEW).warning
    assert warning is not None
    share = int(warning.removeprefix("About ").partition("%")[0])
    assert 60 <= share <= 75
    assert "of 512 sampled rows" in warning


def test_edited_rows_are_not_those_of_another_model(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, TEXTS)
    embed(database, SPEC)
    embed(database, NEW)
    connection.execute("UPDATE passage SET passage = passage || ' edited'")
    assert searcher(database, NEW).warning is None


def test_a_model_of_another_metric_is_an_error(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, TEXTS)
    embed(database, SPEC)
    other = FakeModel("euclidean", metric="l2")
    with pytest.raises(
        ConfigurationError, match=r"About 100% .* another metric \(cosine\) .* \(l2\)\. Run `crdbvec emb"
    ):
        Searcher(database, SPEC, other)  # type: ignore[arg-type]


def test_a_model_of_another_dimension_is_an_error(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, TEXTS)
    embed(database, SPEC)
    with pytest.raises(TableError, match="8"):
        searcher(database, column(model="stub_wide"))


def test_without_fingerprints_the_last_model_is_compared(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, TEXTS)
    embed(database, column(model="stub_hash", staleness="nulls_only"))
    new = column(model="stub_other", staleness="nulls_only")
    assert "those of another model (stub_hash)" in str(searcher(database, new).warning)
    prepared(database, new)
    assert searcher(database, new).warning is None


def test_code_gets_a_warning_of_python(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, TEXTS)
    embed(database, SPEC)
    with pytest.warns(MixedModelsWarning, match="Nearly all") as caught:
        search_frame(database, NEW, stub("stub_other"), ["text 7"])
    opened = Column(database, NEW, stub("stub_other"))
    with pytest.warns(MixedModelsWarning) as caught_of_library:
        opened.search("text 7")
    assert {each.filename for each in [*caught, *caught_of_library]} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Column(database, SPEC, stub("stub_hash")).search("text 7")


def test_hybrid_searches_find_rows_of_both_models_by_words(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, TEXTS)
    old, new = (column(model=model, text_index={}) for model in ("stub_hash", "stub_other"))
    embed(database, old)
    opened = searcher(database, new)
    assert opened.warning is not None
    (result,) = opened.search_texts(["text 7"], SearchQuery(limit=40, mode="hybrid"))
    (hit,) = [each for each in result.hits if each.input == "text 7"]
    assert hit.ranks is not None
    assert hit.ranks.keyword == 1


def test_commands_print_the_warning(
    project: Path,  # noqa: F811
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,  # noqa: F811
    read_json: Json,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRDBVEC_URL", url)
    create_table(connection, INT_SHAPE, TEXTS)
    write_config(project, {"model": "stub_hash"})
    invoke("embed")
    assert "Warning" not in invoke("search", "text 7").stderr
    write_config(project, {"model": "stub_other"})
    invoke("embed", "-b", "20", "-n", "1")
    assert "Warning: About 50% of the vectors" in invoke("search", "text 7").stderr
    assert len(read_json("search", "text 7")) == 10
