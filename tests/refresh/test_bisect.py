"""Bisecting a failed batch: failed rows are found, other rows are kept, and outages are not row failures."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import (
    EncoderUnavailable,
    EncodingError,
    InputRejected,
    InputTooLong,
    ModelError,
    RowsRejected,
)
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.refresh.bisect import (
    PartSize,
    bisect_batch,
    classify_database_error,
    classify_encoding_error,
    encode_parts,
)


class Rejected(CrdbvecError):
    """A row of the batch was rejected."""


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=12))
def test_every_other_row_succeeds_once_and_every_failed_row_is_found(size: int, chosen: set[int]) -> None:
    bad = {position for position in chosen if position < size}
    attempts = 0

    def attempt(positions: list[int]) -> list[int]:
        nonlocal attempts
        attempts += 1
        if bad & set(positions):
            raise Rejected
        return positions

    result = bisect_batch(list(range(size)), attempt, lambda _: "rejected")
    assert [position for _, done in result.results for position in done] == sorted(set(range(size)) - bad)
    assert [position for position, _, _ in result.failures] == sorted(bad)
    assert all(positions == done for positions, done in result.results)
    # A failed row is searched for in smaller and smaller parts, and the parts grow again after it.
    assert attempts <= 1 + 4 * len(bad) * size.bit_length()


@pytest.mark.parametrize(("share", "most"), [(0.001, 2.5), (0.03, 3.0), (0.3, 3.0), (1.0, 1.3)])
def test_few_rows_are_handed_over_again(share: float, most: float) -> None:
    """Halving hands over seven times the rows if 3% fail, and eleven times if all do."""
    random = Random(1)
    size, handed, rows = PartSize(), 0, 0
    for _ in range(10):
        bad = {position for position in range(1_024) if random.random() < share}

        def attempt(positions: list[int], bad: set[int] = bad) -> None:
            nonlocal handed
            handed += len(positions)
            if bad & set(positions):
                raise Rejected

        result = bisect_batch(list(range(1_024)), attempt, lambda _: "rejected", size)
        assert {position for position, _, _ in result.failures} == bad
        rows += 1_024
    assert handed <= most * rows


def batch_of(rows: int) -> EncodedBatch:
    return EncodedBatch(np.zeros((rows, 2), np.float32), np.zeros(rows, np.bool_))


@pytest.mark.parametrize("with_results", [True, False])
def test_rows_that_the_model_names_are_not_searched_for(with_results: bool) -> None:
    """Also of an error that a wrapper raised without the results of the other rows."""
    handed: list[list[int]] = []

    def encode(positions: list[int]) -> EncodedBatch:
        handed.append(positions)
        failures = {
            place: InputRejected(reason="too_long" if position == 7 else "damaged")
            for place, position in enumerate(positions)
            if position in (2, 7)
        }
        if failures:
            raise RowsRejected("", failures, batch_of(len(positions) - len(failures)) if with_results else None)
        return batch_of(len(positions))

    result = encode_parts(list(range(10)), encode)
    assert [(positions, len(encoded.vectors)) for positions, encoded in result.results] == [
        ([0, 1, 3, 4, 5, 6, 8, 9], 8)
    ]
    assert [(position, status) for position, _, status in result.failures] == [(2, "rejected"), (7, "too_long")]
    assert handed == [list(range(10))] + ([] if with_results else [[0, 1, 3, 4, 5, 6, 8, 9]])


def test_named_rows_and_others_that_fail_are_each_found_once() -> None:
    def encode(positions: list[int]) -> EncodedBatch:
        if 1 in positions:
            raise RowsRejected("", {positions.index(1): InputRejected(reason="damaged")})
        if 5 in positions:
            raise InputRejected("one of these")
        return batch_of(len(positions))

    result = encode_parts(list(range(9)), encode)
    assert sorted(position for position, _, _ in result.failures) == [1, 5]
    assert sorted(position for positions, _ in result.results for position in positions) == [0, 2, 3, 4, 6, 7, 8]


def test_error_without_named_rows_is_searched_for() -> None:
    def encode(positions: list[int]) -> EncodedBatch:
        raise RowsRejected("", {})

    assert [position for position, _, _ in encode_parts([0, 1], encode).failures] == [0, 1]


def test_error_that_no_row_caused_ends_the_work_immediately() -> None:
    attempts: list[list[int]] = []

    def attempt(positions: list[int]) -> None:
        attempts.append(positions)
        raise Rejected("the disk is full")

    with pytest.raises(Rejected, match="the disk is full"):
        bisect_batch([0, 1, 2, 3], attempt, lambda _: None)
    assert attempts == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EncodingError("x"), "rejected"),
        (InputTooLong("x"), "too_long"),
        (EncoderUnavailable("x"), None),
        (ModelError("x"), None),
        (CrdbvecError("x"), None),
    ],
)
def test_status_of_an_encoding_error(error: CrdbvecError, status: str | None) -> None:
    assert classify_encoding_error(error) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseError("x", "23514"), "rejected"),
        (DatabaseError("x", "54000"), "too_long"),
        (DatabaseError("x", "55P03"), "transient"),
        (DatabaseError("x", "55006"), "transient"),
        (DatabaseError("x", "42501"), None),
        (DatabaseError("x"), None),
        (DatabaseUnavailable("x", "23514"), None),
        (EncodingError("x"), None),
    ],
)
def test_status_of_a_database_error(error: CrdbvecError, status: str | None) -> None:
    assert classify_database_error(error) == status
