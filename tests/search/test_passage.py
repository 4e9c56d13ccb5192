"""The passage of a long text that contains the words of a query."""

import pytest

from crdbvec_pipelines.search.passage import best_passage, query_words

FILLER = "Nothing of interest is written in this sentence. " * 20


def passage(text: str, query: str, length: int = 100) -> str:
    found = best_passage(text, query_words(query), length)
    assert len(found) <= length
    return found


def test_a_short_text_is_shown_whole_in_one_line() -> None:
    assert passage(" two\n\n words\t", "words") == "two words"


@pytest.mark.parametrize("query", ["", "the of and", "absent", "?!"])
def test_without_a_word_of_the_query_it_is_the_start(query: str) -> None:
    assert passage(FILLER, query) == (
        "Nothing of interest is written in this sentence. Nothing of interest is written in this sentence.…"
    )


def test_the_passage_has_the_most_different_words() -> None:
    text = f"{FILLER}One pump, one pump, one pump. {FILLER}Bleed the pump by its valve. {FILLER}"
    assert passage(text, "How do I bleed a pump valve?", 60) == "…Bleed the pump by its valve. Nothing of interest is…"


def test_plural_case_and_word_ends_are_ignored_but_other_words_are_not() -> None:
    assert "VALVE" in passage(f"{FILLER}A VALVE. {FILLER}", "valves")
    assert "valves" in passage(f"{FILLER}Two valves. {FILLER}", "valve")
    assert passage(f"{FILLER}A start. {FILLER}", "star").startswith("Nothing")


def test_a_passage_at_the_end_starts_with_a_whole_word() -> None:
    found = passage("x" * 50 + " " + "word " * 100 + "final", "final", 40)
    assert found.startswith("…word ")
    assert found.endswith(" final")


def test_a_text_without_blanks_is_cut() -> None:
    assert passage("x" * 300, "absent", 50) == "x" * 49 + "…"
    assert "東京" in passage("あ" * 300 + " 東京 " + "い" * 300, "東京", 50)
