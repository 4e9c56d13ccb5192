"""Queries that have nothing to compare: blank texts, and vectors of length zero."""

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import registry
from tests.support.tables import column, create_table
from tests.support.work import embed


def searcher(database: Database, **values: object) -> Searcher:
    spec = column(model="stub_hash", **values)
    embed(database, spec)
    return Searcher(database, spec, registry().load(spec.model))


@pytest.mark.parametrize("text", ["", "  ", "\t\n", "\u3000", "\u200b\ufeff"])
def test_blank_query_is_rejected(database: Database, connection: psycopg.Connection, text: str) -> None:
    create_table(connection, texts=["one"])
    with pytest.raises(ConfigurationError, match="The text to search for is blank"):
        searcher(database).search_texts([text], SearchQuery())


def test_row_whose_vector_has_no_direction_is_rejected_unless_distances_are_euclidean(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["one", "two"])
    opened = {metric: searcher(database, index={"metric": metric}) for metric in ("cosine", "ip", "l2")}
    connection.execute("UPDATE passage SET passage_vector = '[0,0,0,0,0,0,0,0]' WHERE passage = 'one'")
    (key,) = connection.execute("SELECT id FROM passage WHERE passage = 'one'").fetchone() or ()
    for metric in ("cosine", "ip"):
        with pytest.raises(ConfigurationError, match=f"The row {key} has a vector of length zero"):
            opened[metric].search_like([key], SearchQuery())
    assert len(opened["l2"].search_like([key], SearchQuery()).hits) == 1


def test_query_whose_vector_has_no_direction_is_rejected(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=["one"])
    opened = searcher(database)
    zero = opened._encoder.encode_query("one") * 0
    monkeypatch.setattr(opened._encoder, "encode_query", lambda text: zero)
    with pytest.raises(
        ConfigurationError, match=r"^The text 'one' has a vector of length zero, which has no direction"
    ):
        opened.search_texts(["one"], SearchQuery())
