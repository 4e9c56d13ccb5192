"""The profile of a table: which rows it reads, and the distances to the nearest rows."""

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.profile.advice import advise
from crdbvec_pipelines.profile.table import PROFILE_ROWS, Profile, profile_column, profile_ranges
from crdbvec_pipelines.search.index_build import build_when_covered
from crdbvec_pipelines.search.plot import profile_plot
from tests.support.models import registry, stub
from tests.support.tables import column, create_table
from tests.support.work import embed, prepare

SPEC = column(model="stub_hash", index={})
TEXTS = [*(f"text {number}" for number in range(36)), "same", "same", "same", ""]


def profile(database: Database, rows: int = PROFILE_ROWS, *, is_whole: bool = False) -> Profile:
    return profile_column(database, SPEC, stub("stub_hash"), rows=rows, is_whole=is_whole)


def test_a_table_is_described_before_it_has_vectors(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=TEXTS)
    found = profile(database)
    assert (found.texts.rows, found.is_whole, found.neighbors) == (39, True, None)
    assert found.duplicates == (3 / 39, "table")
    sampled = profile(database, rows=13)
    assert (sampled.texts.rows, sampled.is_whole) == (13, False)
    assert sampled.duplicates[1] == "sample"
    assert profile(database, rows=13, is_whole=True).texts == found.texts


def test_nearest_rows_of_the_table_are_measured(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=TEXTS)
    embed(database, SPEC)
    small = profile(database)
    assert small.neighbors is not None
    assert small.neighbors.rows == 39
    assert small.neighbors.duplicates == pytest.approx(3 / 39)
    assert small.neighbors.quantiles[-1] == max(small.neighbors.distances)
    assert sorted(small.neighbors.distances)[:3] == pytest.approx([0, 0, 0], abs=1e-6)
    # Without an index, rows of a larger table are not compared with all others.
    assert profile(database, rows=13).neighbors is None
    build_when_covered(prepare(database, SPEC).column)
    sampled = profile(database, rows=13)
    assert sampled.neighbors is not None
    assert sampled.neighbors.rows == 13
    assert sampled.duplicates == (sampled.neighbors.duplicates, "table")


def test_chunks_lose_nothing_and_have_no_distances(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["many words " * 300, "few words"])
    models = registry()
    for long_inputs, is_lost in ((None, True), ("chunks", False)):
        spec = column(model="hf_st_all_minilm_l6", long_inputs=long_inputs)
        found = profile_column(database, spec, models.encoder_of(spec))
        assert (bool(found.texts.lost), found.neighbors) == (is_lost, None)
        assert ("long_inputs: mean" in [each.setting for each in advise(spec, found)]) == is_lost


def test_all_rows_are_read_in_pages(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, texts=TEXTS)
    whole = profile(database).texts
    monkeypatch.setattr("crdbvec_pipelines.profile.table._PAGE_ROWS", 13)
    assert profile(database, is_whole=True).texts == whole


def test_model_without_tokens_has_no_profile_of_ranges(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=TEXTS)
    assert profile_ranges(prepare(database, SPEC).column, stub("stub_hash"), [KeyRange()]) is None


def test_plot_is_small_and_needs_no_value() -> None:
    for plot in (profile_plot([3, 50, 700], 256, [0.1, 0.4], "a.b"), profile_plot([], None, [], "a.b")):
        assert plot.startswith(b"\x89PNG")
        assert len(plot) < 50_000
