"""Every statement that reaches a server, from the ledger that the tests keep up to date."""

import re
from collections.abc import Iterator

from docsite.links import ROOT

_HEAD = """\
---
search:
  exclude: true
---

# Statements on {server}

Every statement that this project sends to {server}, for several kinds of vector column. Without a mark, a query reads
the present. {run}The page is made from `tests/snapshots/{file}`.
"""
_STATEMENT = re.compile(r"^-- (?P<name>\w+): (?P<meaning>.*)$")


def _sections(ledger: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, meaning and text of each statement of a ledger, whose entries are separated by empty lines."""
    for entry in ledger.split("\n\n"):
        first, *lines = entry.strip().split("\n")
        match = _STATEMENT.match(first)
        if match is None:
            continue
        meaning = [match["meaning"]]
        while lines and lines[0].startswith("--     "):
            meaning.append(lines.pop(0).removeprefix("--").strip())
        yield match["name"], " ".join(meaning), "\n".join(lines)


def _page(server: str, dialect: str, run: str) -> str:
    file = f"sql_{dialect}.sql"
    ledger = (ROOT / "tests" / "snapshots" / file).read_text(encoding="utf-8")
    # A block without a language is not highlighted, which would take half a minute.
    return _HEAD.format(server=server, file=file, run=run) + "".join(
        f"\n## `{name}`\n\n{meaning}\n\n```text\n{text}\n```\n" for name, meaning, text in _sections(ledger)
    )


def statements_postgresql() -> str:
    """Return the page of PostgreSQL."""
    return _page("PostgreSQL", "postgres", "")


def statements_cockroachdb() -> str:
    """Return the page of CockroachDB."""
    return _page("CockroachDB", "cockroachdb", "They were written from its documentation and not run on a cluster. ")
