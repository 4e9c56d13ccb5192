"""Filters with comparisons, ranges, patterns and paths into JSON: the rows that Python's own comparison finds."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.search.filters import Range
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.search.where import parse_where
from tests.support.servers import Server
from tests.support.tables import column
from tests.support.vectors import Entry, bound, create, entries, found_ids, random_vectors

ROWS = entries([*random_vectors(60)])
QUERY = random_vectors(1, seed=99)[0]
SIZES: list[Any] = [1, 2.5, "2.5", "large", None, True, [10, 20]]
START = ROWS[0].moment


def attributes(row: Entry) -> dict[str, Any] | None:
    """Return the JSON of a row: a number, a text, a boolean, a list or nothing, and a path of two names."""
    if row.id % 10 == 9:
        return None
    return {"size": SIZES[row.id % 7], "color": {"name": "red" if row.id % 3 else "blue"}}


def size(row: Entry) -> Any:
    return (attributes(row) or {}).get("size")


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Filled:
    """A table with a column of JSON, and its searches."""

    database: Database
    nearest: NearestNeighbors

    def find(self, filters: Any) -> list[int]:
        return sorted(found_ids(self.nearest.find(QUERY, SearchQuery(limit=100, filters=filters)).rows))


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[Filled]:
    with (
        server.new_database() as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        create(connection, ROWS)
        connection.execute("ALTER TABLE passage ADD COLUMN attributes JSONB")
        for row in ROWS:
            connection.execute(
                "UPDATE passage SET attributes = %s::JSONB WHERE id = %s",
                (None if (value := attributes(row)) is None else json.dumps(value), row.id),
            )
        yield Filled(database, NearestNeighbors(bound(database, column())))


CASES: dict[str, tuple[Any, list[str], Callable[[Entry], bool]]] = {
    "comparisons": (
        {"year": {">=": 2001, "<": "2003"}},
        ["year>=2001", "year<2003"],
        lambda row: row.year is not None and 2001 <= row.year < 2003,
    ),
    "greater": ({"id": {">": 50}}, ["id>50"], lambda row: row.id > 50),
    "a time": ({"moment": {"<=": START}}, [f"moment <= {START}"], lambda row: row.moment == START),
    "not a value, without NULL": (
        {"tenant": {"!=": ["tenant 1", "tenant 2"]}},
        ["tenant!=tenant 1", "tenant != tenant 2"],
        lambda row: row.tenant not in ("tenant 1", "tenant 2", None),
    ),
    "not NULL": ({"tenant": {"!=": None}}, ["tenant IS NOT NULL"], lambda row: row.tenant is not None),
    "NULL": ({"tenant": None}, ["tenant IS NULL"], lambda row: row.tenant is None),
    "a list with NULL": (
        {"tenant": ["tenant 1", None]},
        ["tenant IN ('tenant 1', NULL)"],
        lambda row: row.tenant in ("tenant 1", None),
    ),
    "no value of a list": ({"tenant": {"!=": []}}, ["tenant NOT IN ()"], lambda row: True),
    "a range or a value": (
        {"year": [Range(2000, 2001), 2004]},
        ["year=2000..2001", "year=2004"],
        lambda row: row.year in (2000, 2001, 2004),
    ),
    "an open range": ({"year": Range(None, 2001)}, ["year=..2001"], lambda row: row.year in (2000, 2001)),
    "outside of a range": ({"year": {"!=": Range(2001)}}, ["year!=2001.."], lambda row: row.year == 2000),
    "a pattern": ({"passage": {"~": "^text [12]$"}}, ["passage~^text [12]$"], lambda row: row.id in (1, 2)),
    "a pattern without case": ({"passage": {"~*": "TEXT 5.$"}}, ["passage~*TEXT 5.$"], lambda row: row.id >= 50),
    "not a pattern": (
        {"passage": {"!~": "1", "!~*": "TEXT .$"}},
        ["passage!~1", "passage!~*TEXT .$"],
        lambda row: "1" not in str(row.id) and row.id > 9,
    ),
    "equal and compared": (
        {"tenant": {"=": ["tenant 1", "tenant 2"], ">": "tenant 1"}},
        ["tenant=tenant 1", "tenant=tenant 2", "tenant>tenant 1"],
        lambda row: row.tenant == "tenant 2",
    ),
    "a path": (
        {"attributes.color.name": "red"},
        ["attributes.color.name=red"],
        lambda row: (attributes(row) or {}).get("color") == {"name": "red"},
    ),
    "a number, however it is written": (
        {"attributes.size": 1.0},
        ["attributes.size=1.00"],
        lambda row: is_number(size(row)) and size(row) == 1,
    ),
    "a number or its text": (
        {"attributes.size": "2.5"},
        ["attributes.size=2.5"],
        lambda row: size(row) in (2.5, "2.5"),
    ),
    "a text of a path": ({"attributes.size": "large"}, ["attributes.size=large"], lambda row: size(row) == "large"),
    "values of several types": (
        {"attributes.size": ["large", True]},
        ["attributes.size IN (large, true)"],
        lambda row: size(row) == "large" or size(row) is True,
    ),
    "numbers are compared as such": (
        {"attributes.size": {"<": 10}},
        ["attributes.size<10"],
        lambda row: is_number(size(row)),
    ),
    "a range of numbers": (
        {"attributes.size": Range(2, 3)},
        ["attributes.size=2..3"],
        lambda row: is_number(size(row)) and size(row) == 2.5,
    ),
    "an element of a list": ({"attributes.size.1": 20}, ["attributes.size.1=20"], lambda row: size(row) == [10, 20]),
    "no value at a path": (
        {"attributes.size": None},
        ["attributes.size IS NULL"],
        lambda row: size(row) is None,
    ),
    "a pattern of a path": (
        {"attributes.color.name": {"~": "^b"}},
        ["attributes.color.name~^b"],
        lambda row: (attributes(row) or {}).get("color") == {"name": "blue"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_that_match_are_found_from_python_and_as_typed(filled: Filled, name: str) -> None:
    filters, texts, matches = CASES[name]
    expected = [row.id for row in ROWS if matches(row)]
    assert expected
    assert filled.find(filters) == expected
    assert filled.find(parse_where(texts, bound(filled.database, column()).table)) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            {"tenant": "x", "year": {">": "soon"}},
            "The column year of public.passage is of type integer, and 'soon' of the filter on year is not a value "
            'of it: invalid input syntax for type integer: "soon".',
        ),
        (
            {"uid": ["4711"]},
            "The column uid of public.passage is of type uuid, and '4711' of the filter on uid is not a value of it: "
            'invalid input syntax for type uuid: "4711".',
        ),
        (
            {"passage_vector": {"<": "red"}, "year": 2000},
            "The column passage_vector of public.passage is of type public.vector, and 'red' of the filter on "
            'passage_vector is not a value of it: invalid input syntax for type vector: "red".',
        ),
    ],
)
def test_a_value_of_another_type_is_an_error_that_names_the_column_and_its_type(
    filled: Filled, filters: dict[str, object], message: str
) -> None:
    with pytest.raises(TableError) as error:
        filled.find(filters)
    assert filled.database.dialect.name != "postgres" or str(error.value) == message
    assert "of type" in str(error.value)


def test_an_operator_that_a_type_does_not_have_is_an_error_that_names_it(
    database: Database, connection: psycopg.Connection
) -> None:
    create(connection, ROWS[:1])
    connection.execute("ALTER TABLE passage ADD COLUMN place POINT")
    with pytest.raises(
        TableError, match=r"uses an operator that the type of its column does not have: place < \(point\)"
    ):
        NearestNeighbors(bound(database, column())).find(QUERY, SearchQuery(filters={"place": {"<": "(1,2)"}}))


def test_an_invalid_pattern_is_an_error_of_the_query(filled: Filled) -> None:
    with pytest.raises(TableError, match=r"regular expression"):
        filled.find({"passage": {"~": "("}})
