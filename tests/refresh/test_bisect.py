"""Bisecting a failed batch: failed rows are found, other rows are kept, and outages are not row failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.database.errors import DatabaseError, DatabaseUnavailable
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, InputTooLong, ModelError
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.refresh.bisect import bisect_batch, classify_database_error, classify_encoding_error


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
    # Each failed row costs at most two attempts per level of the bisection.
    assert attempts <= 1 + 2 * len(bad) * size.bit_length()


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
        (DatabaseError("x", "42501"), None),
        (DatabaseError("x"), None),
        (DatabaseUnavailable("x", "23514"), None),
        (EncodingError("x"), None),
    ],
)
def test_status_of_a_database_error(error: CrdbvecError, status: str | None) -> None:
    assert classify_database_error(error) == status
