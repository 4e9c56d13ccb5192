"""How many characters of a text a model reads: counted by the model, once, and only where texts are longer."""

from collections.abc import Sequence

import pytest

from crdbvec_pipelines.encoding.backends import TokenCount
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.search.read_part import ReadPart
from tests.support.models import stub
from tests.support.tables import column


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the texts whose tokens were counted: one for ten characters, of which 100 are read."""
    lengths: list[int] = []

    def read_tokens(_: Encoder, inputs: Sequence[object]) -> list[TokenCount]:
        lengths.extend(len(str(each)) for each in inputs)
        return [TokenCount(len(str(each)) // 10, min(100, len(str(each)) // 10)) for each in inputs]

    monkeypatch.setattr(Encoder, "read_tokens", read_tokens)
    return lengths


def test_the_longest_text_is_counted_until_one_is_not_read_whole(counted: list[int]) -> None:
    part = ReadPart(column(), stub("stub_hash"))
    assert part.characters([]) is None
    assert part.characters(["x" * 100]) is None
    assert counted == []
    assert part.characters(["x" * 800, "x" * 10]) is None
    assert part.characters(["x" * 700]) is None
    assert counted == [800]
    assert part.characters(["x" * 5_000, "x" * 800]) == 1_000
    assert part.characters(["x" * 9_000]) == 1_000
    assert counted == [800, 5_000]


@pytest.mark.parametrize("long_inputs", ["mean", "chunks"])
def test_whole_texts_are_read_by_other_long_inputs(counted: list[int], long_inputs: str) -> None:
    assert ReadPart(column(long_inputs=long_inputs), stub("stub_hash")).characters(["x" * 5_000]) is None
    assert counted == []


def test_nothing_is_known_of_a_model_without_tokens() -> None:
    part = ReadPart(column(), stub("stub_hash"))
    assert part.characters(["x" * 5_000]) is None
