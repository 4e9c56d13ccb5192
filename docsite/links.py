"""Links: the page of the site for each file of the repository, and the links of a page mapped to such pages.

In the repository, links are relative paths that work wherever the Markdown files are shown. docs/index.md is the page
of the vector index; the start page of the site is README.md.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

START_PAGE = "index.md"

# Files of the repository whose page has another name than the file.
_PAGES: Mapping[str, str] = {
    "README.md": START_PAGE,
    "docs/index.md": "vector-index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "docs/decisions/README.md": "decisions/index.md",
    "tests/snapshots/sql_postgres.sql": "reference/statements-postgresql.md",
    "tests/snapshots/sql_cockroachdb.sql": "reference/statements-cockroachdb.md",
}

# Code is kept as it is: a block between fences, also an indented one, or a text between backticks.
_CODE_OR_LINK = re.compile(
    r"(?P<code>^ *(?P<fence>```+|~~~+).*?^ *(?P=fence)|`[^`\n]*`)"
    r"|(?P<start>\]\(<?)(?P<target>[^)>\s#]+)(?P<anchor>#[^)>\s]*)?(?P<end>>?\))",
    re.DOTALL | re.MULTILINE,
)
_EXTERNAL = re.compile(r"[a-z]+:|/")


def page_of(path: str) -> str:
    """Return the source path in the site of a file or folder of the repository; an image keeps its path in docs/."""
    if path in _PAGES:
        return _PAGES[path]
    if (ROOT / path).is_dir():
        return page_of(f"{path}/README.md")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    # MkDocs ignores files and folders whose name begins with a full stop.
    visible = "/".join(part.removeprefix(".") for part in path.split("/"))
    if path.endswith("/README.md"):
        return f"repository/{visible.removesuffix('README.md')}index.md"
    return f"repository/{visible}" + ("" if path.endswith(".md") else ".md")


def _resolved(path: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def _is_relative(match: re.Match[str]) -> bool:
    return match["code"] is None and not _EXTERNAL.match(match["target"])


def targets(text: str, path: str) -> Iterator[str]:
    """Yield the files and folders of the repository to which a Markdown file has a relative link.

    Args:
        text: The Markdown text.
        path: Its path in the repository.
    """
    for match in _CODE_OR_LINK.finditer(text):
        if _is_relative(match):
            yield _resolved(path, match["target"])


def mapped(text: str, path: str, is_page: Callable[[str], bool]) -> str:
    """Return a Markdown text whose relative links lead to the pages of the site.

    Args:
        text: The Markdown text.
        path: Its path in the repository.
        is_page: Whether the site has a page or a file of this source path. Other links are kept, so that MkDocs reports
            them.
    """
    folder = posixpath.dirname(page_of(path))

    def link(match: re.Match[str]) -> str:
        if not _is_relative(match):
            return match.group()
        page = page_of(_resolved(path, match["target"]))
        if not is_page(page):
            return match.group()
        return match["start"] + posixpath.relpath(page, folder or ".") + (match["anchor"] or "") + match["end"]

    return _CODE_OR_LINK.sub(link, text)
