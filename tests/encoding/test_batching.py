"""Dividing texts into batches: every text once, similar lengths together, the budget kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.encoding.backends.batching import padded_length, plan_batches


@given(st.lists(st.integers(1, 600), max_size=200), st.integers(1, 2000))
def test_every_text_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, dtype=np.intp)
    batches = list(plan_batches(array, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert array[batch[0]] == array[batch].max()
        assert len(batch) == 1 or len(batch) * padded_length(int(array[batch[0]])) <= budget
    assert [array[batch[0]] for batch in batches] == sorted((array[batch[0]] for batch in batches), reverse=True)


@pytest.mark.parametrize(("length", "rows"), [(19, 24), (20, 24), (64, 8), (256, 2), (600, 1), (4, 128)])
def test_rows_of_a_batch_suit_the_matrix_kernels(length: int, rows: int) -> None:
    first = next(plan_batches(np.full(1000, length, dtype=np.intp), 512))
    assert len(first) == rows
