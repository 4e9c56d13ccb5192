"""What a model reads of inputs: means and shares over a sample, also of models that know only a part of it."""

from collections.abc import Sequence

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.backends import TokenCount
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.input_sample import SAMPLE_ROWS, InputSample, measure_inputs, sample_column
from tests.support.models import registry
from tests.support.tables import INT_SHAPE, column, create_table, insert_rows
from tests.support.work import embed, prepare


class Reader:
    """A model that returns prepared token counts."""

    def __init__(self, *counts: TokenCount) -> None:
        self.counts = counts
        self.inputs: list[object] = []

    def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        self.inputs = list(inputs)
        return list(self.counts[: len(inputs)]) if self.counts else None


def test_shares_of_a_sample() -> None:
    reader = Reader(TokenCount(10, 10, 0.0), TokenCount(30, 10, 0.5), TokenCount(20, 20, 0.25), TokenCount(20, 20, 1.0))
    assert measure_inputs(reader, list("abcd"), 0.25) == InputSample(
        rows=4, tokens=20.0, encoded_tokens=15.0, truncated=0.25, unknown_tokens=0.5, unreadable=0.5
    )


def test_model_that_knows_only_the_number_of_tokens() -> None:
    assert measure_inputs(Reader(TokenCount(10), TokenCount(20)), ["a", "b"], 0.25) == InputSample(
        rows=2, tokens=15.0, encoded_tokens=None, truncated=None, unknown_tokens=None, unreadable=None
    )
    assert measure_inputs(Reader(), ["a"], 0.25) is None


def test_sample_contains_only_embedded_rows_and_is_limited(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(2 * SAMPLE_ROWS)])
    spec = column(model="stub_hash")
    embed(database, spec)
    insert_rows(connection, INT_SHAPE, {9_000: "not embedded"})
    reader = Reader(TokenCount(1, 1, 0.0))
    bound = prepare(database, spec).column
    sample_column(bound, reader, [KeyRange()])
    assert len(reader.inputs) == SAMPLE_ROWS
    assert len(set(reader.inputs)) == SAMPLE_ROWS
    assert "not embedded" not in reader.inputs
    # Spread over the table, not its first rows.
    assert "text 510" in reader.inputs
    sample_column(bound, reader, [KeyRange()] * 100)
    assert len(reader.inputs) == SAMPLE_ROWS


@pytest.mark.parametrize("error", [ModelError("no tokenizer")])
def test_model_that_cannot_count_is_not_an_error(
    database: Database, connection: psycopg.Connection, error: ModelError
) -> None:
    class Failing:
        def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
            raise error

    create_table(connection, texts=["a"])
    assert sample_column(prepare(database, column()).column, Failing(), [KeyRange()]) is None


def test_tokens_are_counted_without_the_weights() -> None:
    encoder = registry().load("hf_st_all_minilm_l6")
    (count,) = encoder.read_tokens(["a city"]) or []
    assert count == TokenCount(4, 4, 0.0)
    assert encoder._backend is None
    assert registry().load("stub_hash").read_tokens(["a"]) is None


def test_refresh_counts_unreadable_rows(database: Database, connection: psycopg.Connection) -> None:
    thai = "\u0e1b\u0e23\u0e30"
    create_table(connection, texts=["a city", thai, thai, f"in the old city of {thai}"])
    report = embed(database, column(model="hf_st_all_minilm_l6", output="v"))
    assert (report.rows_embedded, report.rows_unreadable) == (4, 2)
