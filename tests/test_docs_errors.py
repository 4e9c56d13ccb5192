"""docs/errors.md: the reference of the errors, generated from their classes.

CRDBVEC_UPDATE_SNAPSHOTS=1 writes the page instead of comparing it.
"""

import importlib
import os
import pkgutil
import re
import signal
from collections.abc import Iterator

import click
import pytest

import crdbvec_pipelines
from crdbvec_pipelines.cli.embed import ROWS_FAILED_EXIT_CODE
from crdbvec_pipelines.cli.signals import exit_code_of
from crdbvec_pipelines.errors import CrdbvecError
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "errors.md"
UPDATE_VARIABLE = "CRDBVEC_UPDATE_SNAPSHOTS"
SENTENCE = re.compile(r"[A-Z][^\n|]*\.")

_HEAD = """\
# Errors

The message of an error says what happened, which object is concerned, and what to do. The command line prints it on
stderr; stdout contains only the output of the command.

## Exit codes

| exit code | what happened | what to do |
|---|---|---|
| 0 | The command has finished. `embed -F` and `ui` also end with 0 after one signal, and `embed -F` also if rows have \
failed. | |
| 1 | The command failed, but may succeed when it is run again: an outage, locked rows, a lack of memory or space. \
What was written before is kept. | Follow the message, then run the same command again. |
| 2 | The command cannot succeed as it is: an option, an argument, an entry of `crdbvec.yaml`, the URL, a model, a \
table or a privilege is wrong. `crdbvec doctor` also ends with 2 if it has found an error. | Correct what the message \
names. |
| 3 | `embed` has finished, but rows of the vector columns are recorded as failed, in this run or an earlier one. All \
other rows are embedded. | Run `crdbvec errors list` for the reasons. |
| 130 | SIGINT (Ctrl-C) ended the command. What was written before is kept. | Run the same command again to continue. |
| 143 | SIGTERM ended the command. What was written before is kept. | Run the same command again to continue. |

The first signal ends a command in order: it finishes the current batch, or cancels the statement for which it waits. A
second one ends the process at once, whatever it waits for; then the system may report the signal instead of the code.

## Classes

In Python, all errors derive from `CrdbvecError`.

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
        # Each needs a library that is not always installed, and has no errors of its own.
        if ".integrations." in module.name:
            continue
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


def test_every_exit_code_is_documented(errors: list[type[CrdbvecError]]) -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", _HEAD, re.MULTILINE)}
    of_signals = {exit_code_of(number) for number in (signal.SIGINT, signal.SIGTERM)}
    of_errors = {error.exit_code for error in errors}
    assert documented == {0, *of_errors, click.UsageError.exit_code, ROWS_FAILED_EXIT_CODE, *of_signals}


def test_only_errors_that_another_attempt_does_not_fix_exit_with_2(errors: list[type[CrdbvecError]]) -> None:
    assert [error.__name__ for error in errors if error.exit_code == 2 and error.is_retryable] == []


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
