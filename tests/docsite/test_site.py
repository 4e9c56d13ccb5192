"""The site is built in strict mode, which fails at a dead link and at a page without a place in `nav`."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, run

# What a page loads, in contrast to what it links to.
LOADED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="?([^" >]+)|<link\b[^>]*\bhref="?([^" >]+)')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    completed = run(command, ROOT, {"NO_MKDOCS_2_WARNING": "1"})
    assert completed.returncode == 0, completed.stderr
    return folder


def test_page_of_each_file_in_docs_exists(site: Path) -> None:
    names = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    names = {name.replace("README", "index") for name in names} | {"vector-index.html"}
    assert [name for name in sorted(names) if not (site / name).exists()] == []


def test_start_page_is_that_of_the_readme(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "What happens to your table" in page
    assert 'href="vector-index.html"' in page


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loaded = {
        target
        for page in site.rglob("*.html")
        for match in LOADED.findall(page.read_text(encoding="utf-8"))
        for target in match
        if re.match("[a-z]+:|//", target) and not target.startswith("data:")
    }
    assert loaded == set()
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [style for style in styles if re.search(r"url\([\"']?(https?:)?//", style)] == []


def test_everything_that_is_loaded_exists(site: Path) -> None:
    page = site / "reference" / "python.html"
    targets = [target for match in LOADED.findall(page.read_text(encoding="utf-8")) for target in match if target]
    files = [target for target in targets if not target.startswith("data:")]
    assert files
    assert [name for name in files if not (page.parent / name.split("?")[0]).resolve().exists()] == []


@pytest.mark.parametrize(
    ("page", "anchor"),
    [
        ("reference/command-line", "crdbvec-index-build"),
        ("reference/python", "crdbvec_pipelines.library.open_column"),
        ("reference/python", "crdbvec_pipelines.integrations.langchain.CrdbvecVectorStore"),
        ("reference/statements-cockroachdb", "add_vector_column"),
    ],
)
def test_reference_is_made_from_the_code(site: Path, page: str, anchor: str) -> None:
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    assert re.search(rf'id="?{re.escape(anchor)}[" >]', html)
