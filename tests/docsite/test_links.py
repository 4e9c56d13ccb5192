"""The links of the site lead to its own pages, and code is not changed."""

import pytest

from docsite.links import mapped, page_of, targets


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("README.md", "index.md"),
        ("docs/index.md", "vector-index.md"),
        ("docs/decisions/0001-x.md", "decisions/0001-x.md"),
        ("docs/decisions", "decisions/index.md"),
        ("docs/images/overview.png", "images/overview.png"),
        ("deploy/docker", "repository/deploy/docker/index.md"),
        ("examples/dg_project", "repository/examples/dg_project/index.md"),
        (".github/workflows/ci.yml", "repository/github/workflows/ci.yml.md"),
        ("tests/snapshots/sql_postgres.sql", "reference/statements-postgresql.md"),
    ],
)
def test_page_of_a_file(path: str, page: str) -> None:
    assert page_of(path) == page


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("README.md", "[a](docs/index.md#x)", "[a](vector-index.md#x)"),
        ("docs/search.md", "[a](../README.md) [b](index.md)", "[a](index.md) [b](vector-index.md)"),
        ("docs/decisions/0001-x.md", "[a](../index.md)", "[a](../vector-index.md)"),
        ("docs/scaling.md", "[a](../deploy/docker)", "[a](repository/deploy/docker/index.md)"),
        ("docs/search.md", "[a](https://example.org) [b](#x)", "[a](https://example.org) [b](#x)"),
        ("docs/search.md", "`[a](index.md)`\n```\n[a](index.md)\n```", "`[a](index.md)`\n```\n[a](index.md)\n```"),
    ],
)
def test_links_are_mapped_and_code_is_not(path: str, text: str, expected: str) -> None:
    assert mapped(text, path, lambda page: True) == expected


def test_dead_link_is_kept_so_that_the_build_reports_it() -> None:
    assert mapped("[a](missing.md)", "docs/search.md", lambda page: False) == "[a](missing.md)"
    assert list(targets("[a](missing.md)", "docs/search.md")) == ["docs/missing.md"]
