"""Names in Dagster: legal for any table, and unique for each vector column."""

import re
from collections.abc import Sequence

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.build import build_definitions
from tests.orchestration.project import UNUSED_URL, configuration

LEGAL = re.compile(r"[A-Za-z0-9_]+")
UNUSUAL = [
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


def config_of(*columns: tuple[str, str, str], asset_prefix: Sequence[str] = ()) -> ProjectConfig:
    entries = [{"table": str(TableName(schema, table)), "output": output} for schema, table, output in columns]
    return configuration(UNUSED_URL, *entries, asset_prefix=asset_prefix)


def test_job_names_begin_with_the_output_column_if_it_is_unique() -> None:
    names = asset_names(config_of(("public", "passage", "passage_vector")))["public.passage.passage_vector"]
    assert names.job("encode") == "passage_vector__encode"
    assert names.asset == ("public", "passage", "passage_vector")
    assert names.source == ("public", "passage")
    assert names.partitions == "crdbvec/public/passage/passage_vector"


def test_job_names_contain_the_table_if_two_tables_have_the_same_output_column() -> None:
    names = asset_names(config_of(("public", "passage", "v"), ("public", "note", "v")))
    assert names["public.passage.v"].job("encode") == "public__passage__v__encode"
    assert names["public.note.v"].job("encode") == "public__note__v__encode"


def test_asset_prefix_is_part_of_every_asset_key() -> None:
    config = config_of(("public", "passage", "v"), asset_prefix=["search", "prod"])
    names = asset_names(config)["public.passage.v"]
    assert names.asset == ("search", "prod", "public", "passage", "v")
    assert names.source == ("search", "prod", "public", "passage")


_names = st.text("ab_ .é/", min_size=1, max_size=3) | st.sampled_from(["v", "v_index", "v_2", "a__v"])


@given(st.lists(st.tuples(_names, _names, _names), min_size=1, max_size=6, unique=True))
@settings(max_examples=200)
def test_names_are_legal_and_unique(columns: list[tuple[str, str, str]]) -> None:
    names = list(asset_names(config_of(*columns)).values())
    assert len(names) == len(columns)
    for part in ("stem", "short", "asset", "index", "partitions"):
        assert len({getattr(name, part) for name in names}) == len(columns), part
    assert len({"__".join(key) for name in names for key in (name.asset, name.index)}) == 2 * len(columns)
    assert len({name.source for name in names}) == len({(schema, table) for schema, table, _ in columns})
    for name in names:
        assert all(map(LEGAL.fullmatch, (name.stem, name.short, name.group, *name.asset, *name.index)))


def test_legal_name_is_kept_whatever_the_other_names_are() -> None:
    names = asset_names(config_of(("public", "pass age", "v"), ("public", "pass_age", "v")))
    assert names["public.pass_age.v"].asset == ("public", "pass_age", "v")
    assert names['public."pass age".v'].asset == ("public", "pass_age_2", "v")


@pytest.mark.parametrize("prefix", [[], ["search", "prod"]])
def test_dagster_accepts_definitions_of_tables_with_unusual_names(prefix: list[str]) -> None:
    definitions = build_definitions(config_of(*UNUSUAL, asset_prefix=prefix))
    dg.Definitions.validate_loadable(definitions)
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    tables = {(schema, table) for schema, table, _ in UNUSUAL}
    assert len(keys) >= len(tables) + len(UNUSUAL)
