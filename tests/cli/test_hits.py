"""The lines of a hit: distance, key, a passage in the width of the terminal, marked words, control characters."""

import pytest

from crdbvec_pipelines.cli.hits import HitLayout, hit_text
from crdbvec_pipelines.search.passage import query_words
from crdbvec_pipelines.search.result import Hit

TERMINAL = HitLayout(width=40, is_terminal=True)
LONG = "The sun is a star. " + "Nothing is said here. " * 40 + "A supernova is a star that explodes. " + "More. " * 40


def lines(text: object, layout: HitLayout | None = None, query: str = "") -> list[str]:
    _, *shown = hit_text(Hit(0.5, {"id": 1}, text, {}), layout, query_words(query)).splitlines()
    return shown


@pytest.mark.parametrize(
    ("distance", "shown"),
    [(0.25616907383523013, "0.2562"), (-1e-9, "0.0000"), (12.5, "12.5000"), (-3.14159, "-3.1416")],
)
def test_a_distance_has_four_decimals(distance: float, shown: str) -> None:
    assert hit_text(Hit(distance, {"id": 1}, "a", {})) == f"{shown} --> 1\na"


def test_characters_that_control_a_terminal_are_shown_as_escape_sequences() -> None:
    hit = Hit(0.5, {"id": "\x1b1"}, "a\x1b]0;title\x07b\x9b31m\u202ec\n\td é 東", {"note": "\x1b[2J"})
    first = "0.5000 --> \\x1b1\na\\x1b]0;title\\x07b\\x9b31m\\u202ec"
    assert hit_text(hit) == f"{first} d é 東\nnote: \\x1b[2J"
    assert hit_text(hit, HitLayout(is_full=True)) == f"{first}\n\td é 東\nnote: \\x1b[2J"


def test_a_passage_is_one_line_in_a_file_and_wrapped_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = lines(LONG, query="which star explodes?")
    assert "A supernova is a star that explodes." in line
    assert len(line) <= 240
    monkeypatch.setenv("NO_COLOR", "1")
    wrapped = lines(LONG, TERMINAL, "which star explodes?")
    assert len(wrapped) == 3
    assert all(len(line) <= 40 for line in wrapped)
    assert "star that" in " ".join(wrapped)


def test_the_words_of_the_query_are_marked_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert lines("The Stars of a start", TERMINAL, "the star") == ["The \x1b[1mStars\x1b[0m of a start"]
    assert lines("The Stars of a start", None, "the star") == ["The Stars of a start"]
    monkeypatch.setenv("NO_COLOR", "1")
    assert lines("The Stars of a start", TERMINAL, "the star") == ["The Stars of a start"]


def test_columns_are_shortened_and_binary_values_are_their_type_and_size() -> None:
    hit = Hit(0.5, {"id": 1}, b"\xff\xd8\xff" + bytes(20_000), {"text": "word " * 30, "data": b"\0", "n": None})
    assert hit_text(hit).splitlines()[1] == "<image/jpeg, 20.0 kB>"
    last = hit_text(hit).splitlines()[2]
    assert last.startswith("text: word word")
    assert last.endswith("word…, data: <application/octet-stream, 1 B>, n: None")
    assert len(last) < 130
    assert ("word " * 30) in hit_text(hit, HitLayout(is_full=True))
