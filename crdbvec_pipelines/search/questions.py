"""Questions with their relevant rows: read from a file, written to one, or made from the rows of a table."""

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbvec_pipelines.content import has_content
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.embedded_sample import keyed_inputs
from crdbvec_pipelines.database.search.query import Filters
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.text_query import identifiers
from crdbvec_pipelines.value_text import jsonable, value_text

Key = tuple[str, ...]
"""The values of a primary key as text, so that a key in a file equals that of a row."""

_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\n+")
# A shorter part says little, and a longer one is not what a person types.
_MIN_CHARACTERS, _MAX_CHARACTERS = 25, 250
_KINDS = ("start", "middle", "end", "identifier")


@dataclass(frozen=True)
class Question:
    """A query and the rows that it should find.

    Attributes:
        query: The text to search for.
        relevant: The keys of the relevant rows.
        filters: The filters of the search.
        kind: What kind of question it is, for results by kind.
    """

    query: str
    relevant: tuple[Key, ...]
    filters: Filters | None = None
    kind: str = ""


def read_questions(file: Path) -> list[Question]:
    """Return the questions of a file with one JSON object per line.

    Raises:
        ConfigurationError: The file cannot be read, or a line is not a question; the message names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"The questions in {file} cannot be read: {type(error).__name__}.") from None
    questions = [_question(f"{file}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise ConfigurationError(f"{file} contains no question. Run `crdbvec evaluate --make 200` to make some.")
    return questions


def write_questions(file: Path, questions: Iterable[Question]) -> None:
    """Write questions to a new file, one JSON object per line.

    Raises:
        ConfigurationError: The file exists, so that questions that were written by hand are not lost.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            for each in questions:
                relevant = [key[0] if len(key) == 1 else list(key) for key in each.relevant]
                entry = {"query": each.query, "relevant": relevant, "kind": each.kind}
                stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
    except FileExistsError:
        raise ConfigurationError(
            f"{file} exists. Give the name of a new file, or evaluate it without --make."
        ) from None


def make_questions(column: BoundColumn, count: int, seed: int = 7) -> list[Question]:
    """Return questions made from rows that are evenly spread over the table: parts of their own texts.

    Such questions contain words of their text, which favors searches by keywords. Of several rows of the sample that
    contain a question, all are relevant.

    Args:
        column: The vector column, whose input is text.
        count: The maximum number of questions, of one row each.
        seed: The seed of the random numbers.

    Raises:
        ConfigurationError: No embedded row has a text of which a question can be made.
    """
    rows = [
        (tuple(map(value_text, key)), value)
        for key, value in keyed_inputs(column, count)
        if isinstance(value, str) and has_content(value)
    ]
    random_numbers = random.Random(seed)  # noqa: S311
    questions = []
    for number, (_, text) in enumerate(rows):
        found = _parts(text)
        # In turn, so that there are as many of each kind as the texts allow.
        kinds = [*_KINDS[number % len(_KINDS) :], *_KINDS[: number % len(_KINDS)]]
        kind = next((each for each in kinds if found[each]), None)
        if kind is not None:
            query = random_numbers.choice(found[kind])
            relevant = tuple(key for key, other in rows if query in other)
            questions.append(Question(query, relevant, kind=kind))
    if not questions:
        raise ConfigurationError(
            f"No question can be made from {column}: no embedded row has a sentence of {_MIN_CHARACTERS} to "
            f"{_MAX_CHARACTERS} characters."
        )
    return questions


def _parts(text: str) -> dict[str, list[str]]:
    """Return the parts of a text that can be a question, by kind."""
    parts: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    position = 0
    for sentence in _SENTENCE_END.split(text):
        position = text.index(sentence, position)
        part = sentence.strip()
        if _MIN_CHARACTERS <= len(part) <= _MAX_CHARACTERS:
            share = position / len(text)
            parts["start" if share < 0.1 else "end" if share >= 0.9 else "middle"].append(part)
    parts["identifier"] = sorted(identifiers(text))
    return parts


def _question(place: str, line: str) -> Question:
    try:
        entry = json.loads(line)
    except ValueError:
        raise ConfigurationError(f"{place} is not a JSON object.") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("query"), str) or not has_content(entry["query"]):
        raise ConfigurationError(f'{place} has no query. Write {{"query": "a text", "relevant": [<key>, ...]}}.')
    relevant = entry.get("relevant")
    if not isinstance(relevant, list) or not relevant:
        raise ConfigurationError(f"{place} has no list of relevant keys. Write `relevant: [<key>, ...]`, as JSON.")
    unknown = sorted(entry.keys() - {"query", "relevant", "filter", "kind"})
    if unknown:
        raise ConfigurationError(
            f"{place} has the unknown key {unknown[0]}. The keys are query, relevant, filter, kind."
        )
    filters = entry.get("filter")
    if filters is not None and not isinstance(filters, dict):
        raise ConfigurationError(f"{place} has a filter that is not an object of columns and values.")
    return Question(entry["query"], tuple(_key(each) for each in relevant), filters, str(entry.get("kind", "")))


def _key(value: Any) -> Key:
    values: Sequence[Any] = value if isinstance(value, list) else [value]
    return tuple(map(value_text, map(jsonable, values)))
