"""Conditions as they are typed after --where, and the filters that they are."""

import pytest

from crdbvec_pipelines.database.dialects import PostgresDialect
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.search.filters import Range, resolve_filters
from crdbvec_pipelines.database.table import Column, Table
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.search.where import parse_where

TYPES = {
    "lang": "text",
    "year": "int4",
    "moment": "timestamptz",
    "attributes": "jsonb",
    "a b": "text",
    "x=y": "text",
    "dotted.name": "text",
}
COLUMNS = {name: Column(name, kind, kind, -1) for name, kind in TYPES.items()}
TABLE = Table(TableName("public", "passage"), COLUMNS, (COLUMNS["lang"],), PostgresDialect())


@pytest.mark.parametrize(
    ("texts", "filters"),
    [
        (["lang=en"], {"lang": {"=": ["en"]}}),
        (["lang = en "], {"lang": {"=": ["en"]}}),
        (["lang=' en '"], {"lang": {"=": [" en "]}}),
        (["lang=it''s"], {"lang": {"=": ["it''s"]}}),
        (["lang='it''s'"], {"lang": {"=": ["it's"]}}),
        (["lang="], {"lang": {"=": [""]}}),
        (["lang=a=b"], {"lang": {"=": ["a=b"]}}),
        (["lang=come IN (a)"], {"lang": {"=": ["come IN (a)"]}}),
        (["lang=two\nlines"], {"lang": {"=": ["two\nlines"]}}),
        (["lang=en", "lang=de", "year=1999"], {"lang": {"=": ["en", "de"]}, "year": {"=": ["1999"]}}),
        (["lang!=en", "lang<>de"], {"lang": {"!=": ["en", "de"]}}),
        (["year<1", "year<=2", "year>3", "year>=4"], {"year": {"<": ["1"], "<=": ["2"], ">": ["3"], ">=": ["4"]}}),
        (
            ["lang~^e.$", "lang~*E", "lang!~x", "lang!~*Y"],
            {"lang": {"~": ["^e.$"], "~*": ["E"], "!~": ["x"], "!~*": ["Y"]}},
        ),
        (["year=NULL"], {"year": {"=": [None]}}),
        (["year='NULL'"], {"year": {"=": ["NULL"]}}),
        (["year IS NULL", "lang is not null"], {"year": {"=": [None]}, "lang": {"!=": [None]}}),
        (["lang IN (en, 'a, b',NULL)"], {"lang": {"=": ["en", "a, b", None]}}),
        (["lang not in (en)", "lang in ()"], {"lang": {"!=": ["en"], "=": []}}),
        (["year=1990..1999", "year=2005"], {"year": {"=": [Range("1990", "1999"), "2005"]}}),
        (["year!=..1999"], {"year": {"!=": [Range(None, "1999")]}}),
        (["moment=2024-01-01 .. 2024-02-01"], {"moment": {"=": [Range("2024-01-01", "2024-02-01")]}}),
        (["lang=a..b"], {"lang": {"=": ["a..b"]}}),
        (["attributes.size=1..5"], {"attributes.size": {"=": [Range("1", "5")]}}),
        (["attributes.name=a..b"], {"attributes.name": {"=": ["a..b"]}}),
        (["attributes.color.name = red"], {"attributes.color.name": {"=": ["red"]}}),
        (
            ["a b=x", '"x=y"=1', "dotted.name=z"],
            {"a b": {"=": ["x"]}, "x=y": {"=": ["1"]}, "dotted.name": {"=": ["z"]}},
        ),
    ],
)
def test_conditions_are_filters(texts: list[str], filters: dict[str, object]) -> None:
    assert parse_where(texts, TABLE) == filters


@pytest.mark.parametrize("text", ["lang", "=en", "lang IN (a", "", "lang IN ('a'b)"])
def test_other_texts_are_an_error_that_shows_the_forms(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a (condition|list of values)\. "):
        parse_where([text], TABLE)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"lung": 1}, r"^public\.passage has no column lung\. Its columns are lang, year,"),
        ({"year.size": 1}, r"^public\.passage has no column year\.size, and its column year is of type int4, which"),
        ({"year": {"~": "1"}}, r"^The column year of public\.passage is of type int4, and ~ compares texts"),
        ({"year": {"like": "1"}}, r"^The filter on year has the operator 'like'\. The operators are =, !=, <,"),
        ({"year": {"<": None}}, r"^The filter on year compares with None by <, which needs a value\.$"),
    ],
)
def test_filters_that_do_not_fit_a_column_are_errors_that_name_it(filters: dict[str, object], message: str) -> None:
    with pytest.raises(TableError, match=message):
        resolve_filters(TABLE, filters)
