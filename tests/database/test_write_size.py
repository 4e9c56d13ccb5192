"""How many rows the next group of writes has: what makes it smaller, what larger, what neither."""

import pytest

from crdbvec_pipelines.database.write_size import WriteSize

SLOW, QUICK, NEITHER = 0.3, 0.01, 0.1


def test_a_slow_group_halves_the_next_one() -> None:
    size = WriteSize(100, 500)
    size.learn(100, SLOW, 0)
    assert size.rows == 50


def test_a_group_that_had_to_be_sent_again_halves_the_next_one_however_quick_it_was() -> None:
    size = WriteSize(100, 500)
    size.learn(100, QUICK, 1)
    assert size.rows == 50


def test_quick_groups_grow_up_to_the_largest() -> None:
    size = WriteSize(5, 10)
    seen = []
    for _ in range(4):
        seen.append(size.rows)
        size.learn(size.rows, QUICK, 0)
    assert seen == [5, 7, 10, 10]


def test_a_group_in_between_changes_nothing() -> None:
    size = WriteSize(100, 500)
    size.learn(100, NEITHER, 0)
    assert size.rows == 100


def test_a_group_smaller_than_the_present_size_teaches_nothing_by_being_quick() -> None:
    size = WriteSize(100, 500)
    size.learn(7, QUICK, 0)
    assert size.rows == 100


@pytest.mark.parametrize("groups", [3, 50])
def test_however_slow_the_server_one_row_is_left(groups: int) -> None:
    size = WriteSize(5, 10)
    for _ in range(groups):
        size.learn(size.rows, SLOW, 1)
    assert size.rows == 1


def test_after_bad_times_the_groups_grow_again() -> None:
    size = WriteSize(100, 500)
    for _ in range(10):
        size.learn(size.rows, SLOW, 0)
    for _ in range(20):
        size.learn(size.rows, QUICK, 0)
    assert size.rows == 500
