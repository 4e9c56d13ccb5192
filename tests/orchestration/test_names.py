"""Names in Dagster: legal for any table, and no two vector columns share one."""

import re
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdbvec_pipelines.config import ProjectConfig, parse_config
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.names import names_of
from tests.support.models import WRAPPERS

LEGAL = re.compile(r"[A-Za-z0-9_]+")
ODD = [
    ("public", "passage", "v"),
    ("public", "Passage", "v"),
    ("archive", "passage", "v"),
    ("public", "pass age", "v"),
    ("public", "pass-age", "v"),
    ("public", "pass.age", "v"),
    ("public", 'pass"age', "v"),
    ("public", "pass/age", "v"),
    ("public", "pass", "age/v"),
    ("public", "東京", "v"),
    ("public", "大阪", "v"),
    ("public", "2026", "v"),
    ("public", "class", "v"),
    ("public", "passage", "the vector"),
    ("public", "passage", "the-vector"),
    ("public", "passage__v", "w"),
    ("public__passage", "v", "w"),
]


def config_of(*columns: tuple[str, str, str], **top: object) -> ProjectConfig:
    entries = [
        {"table": str(TableName(schema, table)), "input": "i", "output": output, "model": "stub_hash"}
        for schema, table, output in columns
    ]
    models = {"directories": [str(WRAPPERS)]}
    return parse_config({"vectors": entries, "models": models, **top}, "crdbvec.yaml", Path())


def test_the_output_column_is_name_enough_where_it_is_the_only_one() -> None:
    names = names_of(config_of(("public", "passage", "passage_vector")))["public.passage.passage_vector"]
    assert names.job("encode") == "passage_vector__encode"
    assert names.asset == ("public", "passage", "passage_vector")
    assert names.source == ("public", "passage")
    assert names.partitions == "crdbvec/public/passage/passage_vector"


def test_where_two_tables_have_the_same_output_the_table_is_in_the_name() -> None:
    names = names_of(config_of(("public", "passage", "v"), ("public", "note", "v")))
    assert names["public.passage.v"].job("encode") == "public__passage__v__encode"
    assert names["public.note.v"].job("encode") == "public__note__v__encode"


def test_a_prefix_stands_before_every_asset_key() -> None:
    config = config_of(("public", "passage", "v"), asset_prefix=["search", "prod"])
    names = names_of(config)["public.passage.v"]
    assert names.asset == ("search", "prod", "public", "passage", "v")
    assert names.source == ("search", "prod", "public", "passage")


_words = st.text("ab_ .é/", min_size=1, max_size=3) | st.sampled_from(["v", "v_index", "v_2", "a__v"])


@given(st.lists(st.tuples(_words, _words, _words), min_size=1, max_size=6, unique=True))
@settings(max_examples=200)
def test_no_two_columns_share_a_name(columns: list[tuple[str, str, str]]) -> None:
    names = list(names_of(config_of(*columns)).values())
    assert len(names) == len(columns)
    for part in ("stem", "short", "asset", "index", "partitions"):
        assert len({getattr(name, part) for name in names}) == len(columns), part
    assert len({"__".join(key) for name in names for key in (name.asset, name.index)}) == 2 * len(columns)
    assert len({name.source for name in names}) == len({(schema, table) for schema, table, _ in columns})
    for name in names:
        assert all(map(LEGAL.fullmatch, (name.stem, name.short, name.group, *name.asset, *name.index)))


def test_a_name_that_is_legal_is_kept_whatever_else_there_is() -> None:
    odd_first = names_of(config_of(("public", "pass age", "v"), ("public", "pass_age", "v")))
    assert odd_first["public.pass_age.v"].asset == ("public", "pass_age", "v")
    assert odd_first['public."pass age".v'].asset == ("public", "pass_age_2", "v")


@pytest.mark.parametrize("prefix", [[], ["search", "prod"]])
def test_dagster_takes_definitions_of_odd_tables(prefix: list[str]) -> None:
    definitions = build_definitions(config_of(*ODD, asset_prefix=prefix))
    dg.Definitions.validate_loadable(definitions)
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    tables = {(schema, table) for schema, table, _ in ODD}
    assert len(keys) >= len(tables) + len(ODD)
