"""The columns of a frame: those of this project keep their names and values, whatever the table's are called."""

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.frames import _frame_names, search_frame
from tests.support.models import registry
from tests.support.tables import column
from tests.support.work import embed

OWN = ("query", "distance", "input")


@given(st.lists(st.sampled_from([*OWN, *(f"{name}_{n}" for name in OWN for n in (2, 3)), "id"]), unique=True))
def test_every_column_of_the_table_has_a_name_of_its_own(columns: list[str]) -> None:
    names = _frame_names(columns)
    assert list(names) == columns
    assert len({*OWN, *names.values()}) == len(OWN) + len(columns)
    assert all(names[name] == name for name in columns if name not in OWN)


def test_columns_of_the_table_do_not_replace_those_of_the_search(
    database: Database, connection: psycopg.Connection
) -> None:
    connection.execute(
        "CREATE TABLE passage (query TEXT, distance FLOAT8, input TEXT, distance_2 INT8, PRIMARY KEY (query, distance))"
    )
    connection.execute("INSERT INTO passage VALUES ('a', 7.5, 'one', 3), ('b', 8.5, 'two', 4)")
    spec = column(input="input", model="stub_hash")
    embed(database, spec)
    frame = search_frame(
        database,
        spec,
        registry().load(spec.model),
        ["one"],
        SearchQuery(limit=2, columns=("distance_2", "distance", "input")),
    )
    assert list(frame.columns) == ["query", "distance", "query_2", "distance_3", "input", "distance_2", "input_2"]
    assert frame["query"].tolist() == ["one", "one"]
    assert frame["distance"].tolist()[0] < 1e-6 < frame["distance"].tolist()[1] < 7
    assert frame[["query_2", "distance_3", "input", "distance_2", "input_2"]].to_numpy().tolist() == [
        ["a", 7.5, "one", 3, "one"],
        ["b", 8.5, "two", 4, "two"],
    ]
