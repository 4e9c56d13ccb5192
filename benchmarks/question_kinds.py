"""Texts and questions of several kinds, made from Python's standard library, for the benchmark of retrieval.

The texts are not part of this project: they are read from the Python that runs the benchmark, under the PSF License
Version 2. The glosses are those of WordNet (benchmarks/data), and the log lines are generated.
"""

import ast
import random
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_tables import GLOSSES, read_rows

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"*])")
# About the model's window of 256 tokens.
_MIN_MANUAL_CHARACTERS = 1_500
_MIN_SENTENCE_CHARACTERS, _MAX_SENTENCE_CHARACTERS = 50, 250


@dataclass(frozen=True)
class Question:
    """A query and the number of the only relevant text."""

    query: str
    relevant: int


@dataclass(frozen=True)
class Kind:
    """One kind of question over one set of texts.

    Attributes:
        name: Its name in the table of results.
        texts: The texts.
        questions: The questions.
    """

    name: str
    texts: list[str]
    questions: list[Question]


def all_kinds(questions: int, seed: int = 7) -> list[Kind]:
    """Return every kind, with at most this many questions of each."""
    random_numbers = random.Random(seed)
    functions = list(_functions(3 * questions, random_numbers))
    code = [source for _, _, source in functions]
    manuals = documents(questions)
    kinds = [
        Kind("words of a synset to its gloss", *_glosses(5 * questions, questions, random_numbers)),
        Kind("summary of a docstring to the rest of it", *_docstrings(functions)),
        Kind("source file by function name", code, [Question(name, i) for i, (name, _, _) in enumerate(functions)]),
        Kind("source file by docstring", code, [Question(doc, i) for i, (_, doc, _) in enumerate(functions)]),
        Kind("manual, sentence from its start", manuals, _sentences(manuals, 0.0, 0.1, random_numbers)),
        Kind("manual, sentence from its last tenth", manuals, _sentences(manuals, 0.9, 1.0, random_numbers)),
        Kind("log line by exact hexadecimal id", *_log_lines(5 * questions, random_numbers)),
        Kind("log line by identifier and words", *_log_lines(5 * questions, random_numbers, with_words=True)),
    ]
    chosen = []
    for kind in kinds:
        found = list(kind.questions)
        random_numbers.shuffle(found)
        chosen.append(Kind(kind.name, kind.texts, found[:questions]))
    return chosen


def _library() -> Iterator[Path]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(folder.rglob("*.py")):
        if not {"test", "tests", "site-packages", "idlelib", "lib2to3", "pydoc_data"} & set(file.parts):
            yield file


def _functions(count: int, random_numbers: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield name, docstring and source of functions; no two have the same name, and no docstring occurs twice."""
    found: dict[str, tuple[str, str]] = {}
    files = list(_library())
    random_numbers.shuffle(files)
    for source, tree in _trees(files):
        if len(found) > count:
            break
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and (doc := ast.get_docstring(node)) and len(doc) > 40:
                found.setdefault(node.name, (doc, ast.get_source_segment(source, node) or ""))
    chosen = [(name, doc.split("\n\n")[0][:300], text[:6_000]) for name, (doc, text) in sorted(found.items())]
    random_numbers.shuffle(chosen)
    yield from chosen[:count]


def _docstrings(functions: list[tuple[str, str, str]]) -> tuple[list[str], list[Question]]:
    texts: list[str] = []
    questions: list[Question] = []
    for _, _, source in functions:
        doc = ast.get_docstring(ast.parse(_dedented(source)).body[0]) or ""  # type: ignore[arg-type]
        summary, _, rest = doc.partition("\n\n")
        if len(rest) > 60:
            questions.append(Question(" ".join(summary.split()), len(texts)))
            texts.append(rest)
    return texts, questions


def _dedented(source: str) -> str:
    return source if len(source) < 6_000 else "def cut():\n    pass\n"


def documents(count: int) -> list[str]:
    """Return the topics of Python's reference and the longest docstrings of its library, longest first."""
    from pydoc_data.topics import topics

    texts = [*topics.values(), *_long_docstrings()]
    whole = {" ".join(text.split()) for text in texts}
    return sorted((text for text in whole if len(text) > _MIN_MANUAL_CHARACTERS), key=len, reverse=True)[: 2 * count]


def _long_docstrings() -> Iterator[str]:
    for _, tree in _trees(_library()):
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (doc := ast.get_docstring(node)):
                yield doc


def _trees(files: Iterable[Path]) -> Iterator[tuple[str, ast.Module]]:
    """Yield the text of each file and its syntax tree; a file for another Python is left out."""
    for file in files:
        source = file.read_text(encoding="utf-8", errors="ignore")
        try:
            yield source, ast.parse(source)
        except (SyntaxError, ValueError):
            continue


def divide_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each with its lines joined."""
    return [" ".join(sentence.split()) for sentence in _SENTENCE.split(text)]


def _sentences(texts: list[str], start: float, end: float, random_numbers: random.Random) -> list[Question]:
    questions = []
    for number, text in enumerate(texts):
        part = text[int(len(text) * start) : int(len(text) * end) if end < 1 else None]
        found = [
            sentence
            for sentence in _SENTENCE.split(part)[1:]
            if _MIN_SENTENCE_CHARACTERS <= len(sentence) <= _MAX_SENTENCE_CHARACTERS
        ]
        random_numbers.shuffle(found)
        unique = next((each for each in found[:5] if sum(each in other for other in texts) == 1), None)
        if unique is not None:
            questions.append(Question(unique, number))
    return questions


def _glosses(rows: int, questions: int, random_numbers: random.Random) -> tuple[list[str], list[Question]]:
    synsets = read_rows(GLOSSES)
    random_numbers.shuffle(synsets)
    texts = [row["gloss"] for row in synsets[:rows]]
    return texts, [Question(row["lemmas"].replace(";", ","), i) for i, row in enumerate(synsets[:questions])]


def _log_lines(
    rows: int, random_numbers: random.Random, *, with_words: bool = False
) -> tuple[list[str], list[Question]]:
    events = (
        ("request {id} to {path} failed with status {status} after {ms} ms", "why did request {id} fail"),
        ("worker {n} finished job {id} for tenant {tenant} in {ms} ms", "which tenant was job {id} for"),
        ("connection {id} from 10.0.{n}.{m} closed by peer while reading {path}", "who closed connection {id}"),
        ("cache entry {id} of {path} expired, {n} keys evicted", "when did the cache entry {id} expire"),
    )
    paths = ("/api/orders", "/api/users", "/static/app.js", "/health", "/api/payments/refund")
    texts, questions = [], []
    for number in range(rows):
        event, question = random_numbers.choice(events)
        identifier = f"{random_numbers.getrandbits(48):012x}"
        values = {
            "id": identifier,
            "path": random_numbers.choice(paths),
            "status": random_numbers.choice((404, 500, 502, 503)),
            "ms": random_numbers.randrange(2, 9_000),
            "n": random_numbers.randrange(1, 64),
            "m": random_numbers.randrange(1, 255),
            "tenant": random_numbers.choice(("acme", "globex", "initech", "umbrella")),
        }
        texts.append(event.format(**values))
        questions.append(Question(question.format(**values) if with_words else identifier, number))
    return texts, questions
