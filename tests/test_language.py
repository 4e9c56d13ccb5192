"""The language of the project, as docs/glossary.md defines it: no figurative, archaic or private words.

Checked are the Python files (names, comments, docstrings, messages), the Markdown files, the YAML files and the
Makefile. Not checked is text that this project did not write, or that must not change: glosses, licenses, the code of
conduct, files of release 0.1.0.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

# Regular expressions of words and phrases, and what to write instead.
BANNED = {
    "afresh|anew": "again",
    "amid|beside": "next to, with",
    "anybody|everybody|nobody|somebody|whoever": "the user, another process, another run",
    "as asked": "as configured",
    "aside": "(omit)",
    "at fault|blame[ds]?|blaming|culprits?|guilty|innocent": "failed row, rejected",
    "at work": "in progress",
    "by chance": "random",
    "catalogues?": "metadata tables (of this project), catalog (pg_catalog)",
    "deeds?": "action",
    "for ever|forever": "permanently",
    "(goes|going|went) on": "continues",
    "gusts?": "short form",
    "hardly": "rarely, not",
    "heaps?": "cluster",
    "in hand": "current",
    "(is|are|was|were) away": "is unavailable",
    "told|tells? apart": "(name who reports what), distinguish",
    "hence|lest|shall|whence": "therefore, so that, must",
    "meanwhile": "until ..., while ...",
    "lately": "recently",
    "left alone|put aside|set apart": "deferred, excluded",
    "look(s|ed|ing)? after": "maintain",
    "mend(s|ed|ing)?": "repair, correct",
    "minds": "rejects, requires",
    "moody": "failing",
    "newcomers?": "new user",
    "(one|rows|times|batches|tokens|runs) a (batch|column|day|line|minute|partition|row|run|second|tick)": "per",
    "patience": "limit",
    "pretences?|pretends?": "fake",
    "refus(e|ed|es|als?|ing)": "reject",
    "setbacks?": "backoff",
    "slips? of the pen": "typing error",
    "so many": "this many, too many",
    "storm(s|y)?": "stress test",
    "unasked": "by default",
    "warm(s|ed|ing)? up": "load, preload",
    "weathers?": "scenario",
    "wish(es)?": "search query",
    "yardsticks?": "reference",
}

# Text that contains such a word for a reason.
ALLOWED = {
    "a doctor who looks after eyes": "A search query of the demo.",
    "a long text that goes on": "A sample text for comparing converted models.",
    "rows_arrived_meanwhile": "A metadata key, named like the one below.",
    "rows_changed_meanwhile": "A metadata key of 0.1.0; another key would start another plot in Dagster.",
    "`refuse`": "A value of the configuration key existing_vectors.",
    '"refuse"': "The same value.",
    "refused.txt": "A file in the model caches that release 0.1.0 wrote.",
    "serve_forever": "A method of the standard library.",
}

FOLDERS = ("crdbvec_pipelines", "models", "tests", "benchmarks", "docs", "docsite", "examples", ".github")
SUFFIXES = {".py", ".md", ".yaml", ".yml"}
NOT_CHECKED = (
    "CODE_OF_CONDUCT.md",
    "tests/fixtures/release_0_1_0/",
    "tests/models/release_0_1_0/",
    "tests/snapshots/",
    "tests/test_language.py",
)

# Words may be separated by a line break, comment signs, quotation marks and, in names, by underscores.
_SEPARATOR = r"(?:[ \t#\"'_]|\n(?!\s*\n))+"
_BANNED = {
    re.compile(rf"(?<![^\W_])(?:{words.replace(' ', _SEPARATOR)})(?![^\W_])", re.IGNORECASE): instead
    for words, instead in BANNED.items()
}
_ALLOWED = re.compile("|".join(map(re.escape, ALLOWED)))
_CODE = re.compile(r"`[^`\n]*`")


def checked_files() -> Iterator[Path]:
    found = [ROOT / "Makefile", *(path for path in ROOT.iterdir() if path.suffix in SUFFIXES)]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted(found):
        if not path.relative_to(ROOT).as_posix().startswith(NOT_CHECKED):
            yield path


def banned_words(text: str) -> Iterator[str]:
    """Yield the banned words of a text, with line number and replacement."""
    text = _ALLOWED.sub(lambda match: " " * len(match.group()), text)
    for pattern, instead in _BANNED.items():
        for match in pattern.finditer(text):
            yield f"line {text.count(chr(10), 0, match.start()) + 1}: {match.group()!r}; write instead: {instead}"


@pytest.mark.parametrize("path", list(checked_files()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_file_contains_no_banned_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "CHANGELOG.md":
        # It lists the names of earlier releases.
        text = _CODE.sub("", text)
    assert list(banned_words(text)) == []


def test_every_allowed_text_occurs() -> None:
    texts = [path.read_text(encoding="utf-8") for path in checked_files()]
    assert [allowed for allowed in ALLOWED if not any(allowed in text for text in texts)] == []


@pytest.mark.parametrize(
    "text",
    ["Nobody is\n# told.", "def test_it_goes_on() -> None:", 'raise Error("refused")', "100 rows a second", "AT WORK"],
)
def test_banned_word_is_found(text: str) -> None:
    assert list(banned_words(text))
