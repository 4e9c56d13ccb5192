"""The pages of the reference that are made from the code at the build, so that they cannot differ from it."""

from collections.abc import Callable, Iterator, Mapping

from docsite.reference.command_line import command_line
from docsite.reference.configuration import configuration
from docsite.reference.dagster_objects import checks, metadata
from docsite.reference.metrics import metrics
from docsite.reference.python_api import python_api
from docsite.reference.statements import statements_cockroachdb, statements_postgresql

_PAGES: Mapping[str, Callable[[], str]] = {
    "command-line": command_line,
    "configuration": configuration,
    "python": python_api,
    "metadata": metadata,
    "checks": checks,
    "metrics": metrics,
    "statements-postgresql": statements_postgresql,
    "statements-cockroachdb": statements_cockroachdb,
}


def pages() -> Iterator[tuple[str, str]]:
    """Yield source path in the site and Markdown text of each generated page."""
    for name, make in _PAGES.items():
        yield f"reference/{name}.md", make()
