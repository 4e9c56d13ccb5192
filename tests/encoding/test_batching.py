"""Batches: each text once, similar lengths together, within the token budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.encoding.backends.batching import padded_length, split_into_batches


@given(st.lists(st.integers(1, 600), max_size=200), st.integers(1, 2000))
def test_batches_contain_each_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, dtype=np.intp)
    batches = list(split_into_batches(array, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert array[batch[0]] == array[batch].max()
        assert len(batch) == 1 or len(batch) * padded_length(int(array[batch[0]])) <= budget
    assert [array[batch[0]] for batch in batches] == sorted((array[batch[0]] for batch in batches), reverse=True)


@pytest.mark.parametrize(("length", "rows"), [(19, 24), (20, 24), (64, 8), (256, 2), (600, 1), (4, 128)])
def test_number_of_rows_is_a_multiple_for_matrix_kernels(length: int, rows: int) -> None:
    first = next(split_into_batches(np.full(1000, length, dtype=np.intp), 512))
    assert len(first) == rows
