"""What inputs are like, added up page by page, and which settings the values suggest."""

from collections.abc import Sequence

import pytest

from crdbvec_pipelines.encoding.backends import TokenCount
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.profile.advice import advise, describe, markdown
from crdbvec_pipelines.profile.table import Neighbors, Profile
from crdbvec_pipelines.profile.texts import TextCounter, Texts
from tests.support.tables import column

WINDOW = 4


class WordReader:
    """A model whose tokens are words, that reads four of them, and does not know those of capital letters."""

    def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        words = [str(value).split() for value in inputs]
        return [
            TokenCount(
                len(each), min(len(each), WINDOW), sum(map(str.isupper, each[:WINDOW])) / max(1, len(each[:WINDOW]))
            )
            for each in words
        ]


class PictureReader:
    def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        return None


class FailingReader:
    def read_tokens(self, inputs: Sequence[object]) -> list[TokenCount] | None:
        raise ModelError("no tokenizer")


def counted(*pages: Sequence[object], reader: object = None) -> Texts:
    counter = TextCounter(reader or WordReader(), 0.25)  # type: ignore[arg-type]
    for page in pages:
        counter.add(page)
    return counter.result()


def test_values_of_several_pages_are_those_of_one() -> None:
    inputs = ["a b", "a b", "a b c d e f", "a A B C", "error 0x7f in read_table"]
    assert counted(inputs) == counted(inputs[:2], inputs[2:])
    found = counted(inputs)
    assert (found.rows, found.window, found.tokens) == (5, WINDOW, (2, 4, 6, 6, 6))
    assert sorted(found.lengths) == [2, 2, 4, 4, 6]
    assert found.lost == pytest.approx(2 / 18)
    assert (found.duplicates, found.identifiers) == (0.4, 0.2)
    assert found.sample is not None
    assert (found.sample.truncated, found.sample.unreadable) == (0.2, 0.2)


def test_nothing_is_known_about_tokens_of_other_inputs() -> None:
    for reader in (PictureReader(), FailingReader()):
        found = counted([b"picture", memoryview(b"picture"), b"other"], reader=reader)
        assert (found.sample, found.window, found.lost, found.tokens) == (None, None, None, ())
        assert found.duplicates == pytest.approx(2 / 3)
    assert "token count unknown for this model" in describe(Profile(found, is_whole=True))
    assert counted([]).rows == 0
    assert describe(Profile(counted([]), is_whole=True))


def settings(
    *inputs: str, neighbors: Neighbors | None = None, text_index: dict[str, object] | None = None
) -> list[str]:
    profile = Profile(counted(inputs), is_whole=neighbors is None, neighbors=neighbors)
    return [each.setting for each in advise(column(text_index=text_index), profile)]


def test_each_value_has_its_advice() -> None:
    assert settings("a b c", "d e") == []
    assert settings("a b c", "a b c d e f") == ["long_inputs: mean", "text_index"]
    assert settings("a b c d", "a " * 50) == ["long_inputs: chunks", "text_index"]
    assert settings("a b c", "a b c d e f", text_index={}) == ["long_inputs: mean"]
    assert settings("A B c", "d e") == ["another model"]
    assert settings("read_table fails", "d e") == ["text_index"]
    assert settings("read_table fails", "d e", text_index={}) == []
    assert settings("a", "a", "b") == ["search --distinct"]
    found_equal = Neighbors(2, [0.0, 0.5], (0.0, 0.0, 0.5, 0.5, 0.5), 0.0, 0.5)
    assert settings("a", "b", neighbors=found_equal) == ["search --distinct"]


def test_advice_names_its_value_and_no_text() -> None:
    profile = Profile(counted(["secret words of a row", "secret words of a row"]), is_whole=False)
    text = markdown(column(), profile)
    assert "- `search --distinct`: 100.0% of the rows have the same input as another row of the sample" in text
    assert "20.0% of all tokens are in no vector" in text
    assert "secret" not in text
    assert "nothing to change" in markdown(column(), Profile(counted(["a"]), is_whole=True))
