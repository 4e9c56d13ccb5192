"""docs/errors.md: the reference of the errors, generated from their classes.

CRDBVEC_UPDATE_SNAPSHOTS=1 writes the page instead of comparing it.
"""

import importlib
import os
import pkgutil
import re
from collections.abc import Iterator

import pytest

import crdbvec_pipelines
from crdbvec_pipelines.errors import CrdbvecError
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "errors.md"
UPDATE_VARIABLE = "CRDBVEC_UPDATE_SNAPSHOTS"
SENTENCE = re.compile(r"[A-Z][^\n|]*\.")

_HEAD = """\
# Errors

The message of an error says what happened, which object is concerned, and what to do. The command line prints the
message and exits with the code in the table; an unknown option or argument also exits with code 2. In Python, all
errors derive from `CrdbvecError`.

| class | exit code | what happened | what to do |
|---|---|---|---|
"""


def subclasses(base: type[CrdbvecError]) -> Iterator[type[CrdbvecError]]:
    """Yield a class and its subclasses in the package, depth first and in alphabetical order."""
    if base.__module__.startswith(f"{crdbvec_pipelines.__name__}."):
        yield base
        for subclass in sorted(base.__subclasses__(), key=lambda error: error.__name__):
            yield from subclasses(subclass)


@pytest.fixture(scope="module")
def errors() -> list[type[CrdbvecError]]:
    """All error classes, which exist only after all modules have been imported."""
    for module in pkgutil.walk_packages(crdbvec_pipelines.__path__, f"{crdbvec_pipelines.__name__}."):
        importlib.import_module(module.name)
    return list(subclasses(CrdbvecError))


def summary(error: type[CrdbvecError]) -> str:
    """Return the first line of the class's own docstring."""
    return (vars(error).get("__doc__") or "").split("\n")[0]


def test_page_is_up_to_date(errors: list[type[CrdbvecError]]) -> None:
    rows = [
        f"| `{error.__module__}.{error.__name__}` | {error.exit_code} | {summary(error)} | {error.remedy} |\n"
        for error in errors
    ]
    page = _HEAD + "".join(rows)
    if os.environ.get(UPDATE_VARIABLE):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, (
        f"the errors have changed: run this test with {UPDATE_VARIABLE}=1 and review the difference before a commit"
    )


def test_every_error_says_in_one_sentence_what_happened(errors: list[type[CrdbvecError]]) -> None:
    assert [error.__name__ for error in errors if not SENTENCE.fullmatch(summary(error))] == []


def test_every_error_has_its_own_remedy_in_one_sentence(errors: list[type[CrdbvecError]]) -> None:
    remedies = {error.__name__: vars(error).get("remedy", "") for error in errors}
    assert [name for name, remedy in remedies.items() if not SENTENCE.fullmatch(remedy)] == []
    assert len(set(remedies.values())) == len(remedies)


def test_every_class_of_an_error_is_found(errors: list[type[CrdbvecError]]) -> None:
    """A class whose base is an error in the source is among the subclasses, so that the walk misses no module."""
    names = {error.__name__ for error in errors}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "crdbvec_pipelines").rglob("*.py")]
    derived = {
        name
        for source in sources
        for name, base in re.findall(r"^class (\w+)\((\w+)\):", source, re.MULTILINE)
        if base in names
    }
    assert derived | {"CrdbvecError"} == names
