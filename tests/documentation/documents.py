"""The Markdown files that users read, their code blocks, and the invocations of `crdbvec` in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

# The decisions and the changelog name what existed when they were written.
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n+)?^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```",
    re.DOTALL | re.MULTILINE,
)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        document: Its file.
        line: The line of its first fence.
        language: Its language.
        text: Its text, without the indentation of the list in which it is.
        reason: Why it is not run, from the comment before it; None without one.
    """

    document: Path
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def name(self) -> str:
        """The place of the block, for messages."""
        return f"{self.document.relative_to(ROOT).as_posix()}:{self.line}"

    def commands(self) -> list[str]:
        """Return the lines that a user types, without prompt and comment."""
        typed = [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]
        return [re.sub(r"\s+# .*", "", line).strip() for line in typed]


def blocks(document: Path) -> Iterator[Block]:
    """Yield the code blocks of a document."""
    text = document.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        lines = match["text"].splitlines(keepends=True)
        body = "".join(line.removeprefix(match["indent"]) for line in lines)
        line = text.count("\n", 0, match.start("indent")) + 1
        yield Block(document, line, match["language"], body, match["reason"])


def inline_codes(document: Path) -> Iterator[str]:
    """Yield the texts between backticks, outside of code blocks."""
    for match in _INLINE.finditer(_BLOCK.sub("", document.read_text(encoding="utf-8"))):
        yield match[1]


def invocations(document: Path) -> Iterator[list[str]]:
    """Yield the arguments of each `crdbvec ...` in a document, in code blocks and between backticks."""
    typed = [command for block in blocks(document) for command in block.commands()]
    for text in [*typed, *inline_codes(document)]:
        for part in re.split(r"&&|\||;", text):
            match = re.match(r"(?:\.venv/bin/)?crdbvec (.*)", part.strip())
            if match is not None:
                yield _words(match[1])


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
