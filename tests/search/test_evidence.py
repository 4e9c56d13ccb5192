"""How much of a query texts contain: rare words count more, and what stands verbatim is distinguished."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.search.evidence import Evidence, find_evidence
from crdbvec_pipelines.search.text_query import QueryText

OTHERS = ["nothing of it", "something else"]


def evidence(query: str, *texts: str) -> list[Evidence]:
    return find_evidence(QueryText(query), [*texts, *OTHERS])


@pytest.mark.parametrize(
    ("query", "text", "is_exact"),
    [
        ("why did ab12cd fail", "request AB12CD was rejected", True),
        ("why did ab12cd fail", "request ab12cde was rejected", False),
        ("ab12cd or ef34", "request ab12cd", False),
        ('"Vector index"', "a vector\n  index", True),
        ('"vector index"', "an index of a vector", False),
        ("the beam of the search", "It widens the beam of\nthe search.", True),
        ("the beam of the wide search", "the beam of the narrow search", False),
        ("a bird that cannot fly", "a plane that can", False),
    ],
)
def test_identifiers_quoted_words_and_whole_queries_are_exact(query: str, text: str, is_exact: bool) -> None:
    assert evidence(query, text)[0].is_exact == is_exact


@pytest.mark.parametrize(
    ("query", "exactness"),
    [
        ("request ab12cd", 0.5),
        ("ab12cd", 1),
        ("ab12cd or xy99", 1),
        ("ab12cd of request failed", 0.75),
        ("of request ab12cd failed", 0.25),
        ("ab12cd of request", 1),
        ("request", 0),
    ],
)
def test_exactness_is_the_share_of_what_stands_verbatim(query: str, exactness: float) -> None:
    """A word that no text contains does not count, and each of the others is in one of three texts."""
    found = find_evidence(QueryText(query), ["ab12cd of request", "failed", "done"])
    assert found[0].exactness == pytest.approx(exactness)


def test_words_after_the_part_that_the_model_reads_are_unread() -> None:
    texts = ["the kakapo " + "x " * 50 + "is flightless", "the kakapo is flightless", "x " * 50 + "kakapo", *OTHERS]
    found = find_evidence(QueryText("flightless kakapo"), texts, read_characters=30)
    # Two of five texts contain the one word, three the other.
    flightless, kakapo = math.log(6 / 2), math.log(6 / 3)
    assert found[0].unread == pytest.approx(flightless / (flightless + kakapo))
    assert [each.unread for each in found[1:]] == [0, 1, 0, 0]
    assert [each.unread for each in find_evidence(QueryText("flightless kakapo"), texts)] == [0] * 5
    # A word that is cut off is not read.
    assert find_evidence(QueryText("kakapo"), ["kakapo", *OTHERS], read_characters=3)[0].unread == 1


def test_rare_words_count_more() -> None:
    texts = ["a red kakapo", "a red kite", "a red fox", "a blue tit"]
    kakapo, kite, _, tit = find_evidence(QueryText("red kakapo"), texts)
    rare, frequent = math.log(5 / 1), math.log(5 / 3)
    assert kakapo.coverage == 1
    assert kite.coverage == pytest.approx(frequent / (rare + frequent))
    assert tit.coverage == 0


def test_an_identifier_of_many_texts_counts_less_than_a_sentence_of_one() -> None:
    query = "the function read_table returns all rows of it"
    sentence, *others = evidence(query, f"First. {query.capitalize()}.", *["see read_table"] * 8)
    assert sentence.exactness == 1
    assert all(each.exactness < 0.1 for each in others)


@pytest.mark.parametrize(("word", "text"), [("parrots", "a parrot"), ("connected", "a connection")])
def test_other_forms_of_a_word_count_and_other_identifiers_do_not(word: str, text: str) -> None:
    assert evidence(word, text)[0].coverage == 1
    assert evidence(f"{word}_1 or", f"or {word}_2")[0].exactness == 0


def test_nothing_is_known_where_no_word_is_seen() -> None:
    assert evidence("mice", "a mouse") == [Evidence(coverage=1)] * 3
    assert find_evidence(QueryText("mice"), []) == []


@given(st.text('abc1_ ."', max_size=30), st.lists(st.text('abc1_ ."', max_size=40), max_size=6))
def test_shares_are_between_zero_and_one(query: str, texts: list[str]) -> None:
    for each in find_evidence(QueryText(query), texts):
        assert 0 <= each.exactness <= each.coverage + 1e-9 <= 1 + 1e-6
