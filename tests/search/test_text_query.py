"""Words, identifiers and phrases of a query."""

import pytest

from crdbvec_pipelines.search.text_query import QueryText


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("how bright a star is", ()),
        ("error 0x7ffd3a2b in read_table", ("0x7ffd3a2b", "read_table")),
        ("what does getUserName do?", ("getUserName",)),
        ('the words "vector index" of os.path, and std::vector', ("vector index", "os.path", "std::vector")),
        ("look into /usr/share/man/man1", ("usr/share/man/man1",)),
        ("a well-known doctor, e.g. of eyes; 42", ()),
        ('"" "?!"', ()),
    ],
)
def test_quoted_words_and_identifiers_are_exact(text: str, exact: tuple[str, ...]) -> None:
    assert QueryText(text).exact == exact


def test_operators_and_quotation_marks_of_a_query_are_words_to_the_server() -> None:
    found = QueryText("it's & not | a:* back\\slash").for_server()
    assert found is not None
    assert found.any_term == r"'it''s' | 'it' | 's' | 'not' | 'a' | 'back\\slash' | 'back' | 'slash'"


def test_parts_of_a_compound_are_terms_too() -> None:
    found = QueryText("example.com").for_server()
    assert found is not None
    assert found.any_term == "'example.com' | 'example' | 'com'"
    assert found.phrases == ("'example.com'",)


def test_long_queries_are_limited_and_blank_ones_find_nothing() -> None:
    found = QueryText(" ".join(f"word{number}" for number in range(500))).for_server()
    assert found is not None
    assert (len(found.terms), len(found.phrases)) == (64, 4)
    assert QueryText("?! …").for_server() is None
