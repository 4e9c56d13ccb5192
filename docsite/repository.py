"""Pages for what is outside of docs/: the Markdown files of the repository, its other files and its folders.

Only what a page links to is added, so the site works without a code host.
"""

from collections.abc import Iterator, Mapping

from docsite.links import ROOT, page_of, targets

_LANGUAGES: Mapping[str, str] = {
    ".json": "json",
    ".py": "python",
    ".service": "ini",
    ".sql": "sql",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
_LARGEST_BYTES = 100_000
"""A larger file is not a text to be read on a page."""


def markdown_files() -> list[str]:
    """Return the Markdown files that are pages in any case: the start page and all files in docs/."""
    docs = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", *docs]


def linked_pages() -> Iterator[tuple[str, str]]:
    """Yield path in the repository and Markdown text of each page that is added to those of docs/."""
    waiting = markdown_files()
    done: set[str] = set()
    while waiting:
        path = waiting.pop(0)
        if (ROOT / path / "README.md").exists():
            path += "/README.md"
        text = None if path in done else _text(path)
        done.add(path)
        if text is None:
            continue
        if not path.startswith("docs/"):
            yield path, text
        waiting += targets(text, path)


def _text(path: str) -> str | None:
    """Return the Markdown text of the page for a file or folder; None if it is not shown as such a page."""
    source = ROOT / path
    if path.startswith("..") or page_of(path).startswith("reference/") or not source.exists():
        return None
    if source.is_dir():
        return _listing(path)
    if source.suffix == ".md":
        return source.read_text(encoding="utf-8")
    if path.startswith("docs/") or source.stat().st_size > _LARGEST_BYTES:
        return None
    try:
        content = source.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    language = _LANGUAGES.get(source.suffix, "text")
    return f"# {path}\n\n````{language}\n{content.rstrip()}\n````\n"


def _listing(path: str) -> str:
    """Return the text of the page of a folder: links to its files."""
    folder = ROOT / path
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    shown = [name for name in files if "__pycache__" not in name]
    return f"# {path}\n\n" + "\n".join(f"- [{name}]({folder.name}/{name})" for name in shown) + "\n"
