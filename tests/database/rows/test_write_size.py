"""The number of rows of the next group of writes: what makes it shrink, grow or stay."""

import pytest

from crdbvec_pipelines.database.rows.write_size import WriteSize

SLOW, QUICK, NEITHER = 0.3, 0.01, 0.1


def test_slow_group_halves_the_size() -> None:
    size = WriteSize(100, 500)
    size.adjust(100, SLOW, 0)
    assert size.rows == 50


def test_retried_group_halves_the_size_even_if_it_was_quick() -> None:
    size = WriteSize(100, 500)
    size.adjust(100, QUICK, 1)
    assert size.rows == 50


def test_quick_groups_grow_to_the_maximum() -> None:
    size = WriteSize(5, 10)
    sizes = []
    for _ in range(4):
        sizes.append(size.rows)
        size.adjust(size.rows, QUICK, 0)
    assert sizes == [5, 7, 10, 10]


def test_group_of_medium_duration_does_not_change_the_size() -> None:
    size = WriteSize(100, 500)
    size.adjust(100, NEITHER, 0)
    assert size.rows == 100


def test_quick_group_smaller_than_the_size_does_not_grow_it() -> None:
    size = WriteSize(100, 500)
    size.adjust(7, QUICK, 0)
    assert size.rows == 100


@pytest.mark.parametrize("groups", [3, 50])
def test_size_is_never_below_one_row(groups: int) -> None:
    size = WriteSize(5, 10)
    for _ in range(groups):
        size.adjust(size.rows, SLOW, 1)
    assert size.rows == 1


def test_size_grows_again_after_slow_groups() -> None:
    size = WriteSize(100, 500)
    for _ in range(10):
        size.adjust(size.rows, SLOW, 0)
    for _ in range(20):
        size.adjust(size.rows, QUICK, 0)
    assert size.rows == 500
