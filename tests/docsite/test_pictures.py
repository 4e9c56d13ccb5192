"""Each picture of the documents is made by a browser test or by the code of a plot, and is on a page."""

import re

import pytest

from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.search.index_explanation import explain_index
from docsite.pictures import DRAWN, IMAGES, PLOTS
from tests.documentation.documents import DOCUMENTS
from tests.support.embeddings import mixture
from tests.support.processes import ROOT

FILES = {path.name for path in IMAGES.iterdir()}
# A text of a plot is the comment before its shapes.
_TEXT_OF_PLOT = re.compile(r"<!-- (.*?) -->")


def screenshots() -> list[str]:
    """Return the files that the browser tests write."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests" / "ui").glob("test_*.py"))]
    return [f"{name}.png" for source in sources for name in re.findall(r"\.screenshot\(\"(\w+)\"\)", source)]


def texts(picture: str) -> set[str]:
    """Return the words of a plot: its title, its legend and the names of its axes, without their numbers."""
    found = {re.sub(r"[\d,]+", "0", text) for text in _TEXT_OF_PLOT.findall(picture)}
    return {text for text in found if re.search("[a-z]{2}", text)}


def test_each_picture_is_made_by_one_of_the_three_ways() -> None:
    made = [*screenshots(), *PLOTS, *DRAWN]
    assert len(made) == len(set(made))
    assert set(made) == FILES


def test_each_picture_is_on_a_page_and_each_that_is_on_a_page_exists() -> None:
    shown = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"!\[[^\]]+\]\((?:docs/)?images/([\w.]+)\)", document.read_text(encoding="utf-8"))
    }
    assert shown == FILES


@pytest.fixture(scope="module")
def drawn_again() -> dict[str, bytes]:
    """The plots for few vectors; the words in them do not depend on the vectors."""
    vectors = mixture(600, 16)
    return explain_index(vectors, vectors[:20], IndexSettings()).pictures


@pytest.mark.parametrize("file", PLOTS)
def test_plot_has_the_words_that_its_code_draws(file: str, drawn_again: dict[str, bytes]) -> None:
    words = texts((IMAGES / file).read_text(encoding="utf-8"))
    assert words
    assert words == texts(drawn_again[PLOTS[file]].decode()), "the code of the plot has changed: run `make pictures`"
