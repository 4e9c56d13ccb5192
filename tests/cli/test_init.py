"""`crdbvec init`: the file that it writes, from options and from answers on a terminal; the table is not changed."""

import re
from pathlib import Path

import psycopg
import pytest
import yaml

from crdbvec_pipelines.config import load_config, parse_config
from tests.cli.conftest import Invoke
from tests.support.processes import CRDBVEC, run_on_terminal

FILE = "crdbvec.yaml"
ARTICLE = (
    "CREATE TABLE article (id BIGINT PRIMARY KEY, title TEXT, body TEXT, attributes JSONB, updated_at TIMESTAMPTZ)"
)


@pytest.fixture
def article(project: Path, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and a table with two text columns in the database at CRDBVEC_URL."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    connection.execute(ARTICLE)
    return project


def columns(connection: psycopg.Connection) -> list[tuple[str, ...]]:
    return connection.execute(
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public' "
        "ORDER BY 1, 2"
    ).fetchall()


def test_options_describe_the_entry_and_the_rest_is_explained(
    article: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    before = columns(connection)
    result = invoke("init", "-t", "article", "-i", "title", "-i", "body", "-o", "found_by", "-m", "hf_st_all_minilm_l6")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        "crdbvec.yaml written: public.article.found_by, from title, body, by hf_st_all_minilm_l6. Next:\n  crdbvec plan"
    )
    assert columns(connection) == before
    (column,) = load_config(article / FILE).vectors
    assert (str(column), column.input) == ("public.article.found_by", ("title", "body"))
    assert column.index is not None
    assert column.index.metric == "cosine"
    text = (article / FILE).read_text(encoding="utf-8")
    assert "# Key: id (bigint)\n" in text
    assert "VECTOR(384)" in text
    # Each suggestion is valid when it is no comment any more.
    enabled, count = re.subn(r"^    # (\w+: )", r"    \1", text, flags=re.MULTILINE)
    assert count == 5
    (column,) = parse_config(yaml.safe_load(enabled), FILE, article).vectors
    assert (column.updated_at, column.schedule) == ("updated_at", "0 3 * * *")


def test_the_only_text_column_is_the_default(article: Path, connection: psycopg.Connection, invoke: Invoke) -> None:
    connection.execute("ALTER TABLE article DROP COLUMN title")
    assert invoke("init", "-t", "article").exit_code == 0
    (column,) = load_config(article / FILE).vectors
    assert (column.input, column.output, column.model) == ("body", "body_vector", "hf_st_all_minilm_l6")
    assert invoke("status").exit_code == 0


def test_without_a_terminal_a_choice_must_be_given(
    article: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    several = invoke("init", "-t", "article")
    assert several.exit_code == 2
    assert several.stderr == "Error: Input column: there are several. Choose one with -i: title, body.\n"
    connection.execute("CREATE TABLE other (id INT8 PRIMARY KEY, picture BYTEA)")
    assert invoke("init").stderr == (
        "Error: Table: there are several. Choose one with -t: public.article, public.other.\n"
    )
    assert "Choose one with -m: color_histogram, " in invoke("init", "-t", "other").stderr
    assert not (article / FILE).exists()


def test_an_existing_file_is_replaced_only_on_request(article: Path, invoke: Invoke) -> None:
    (article / FILE).write_text("mine", encoding="utf-8")
    options = ("init", "-t", "article", "-i", "body")
    result = invoke(*options)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: crdbvec.yaml exists. Replace it with --force, or write another file with --config.\n"
    )
    assert (article / FILE).read_text(encoding="utf-8") == "mine"
    assert "crdbvec plan -c other.yaml" in invoke(*options, "-c", "other.yaml").stdout
    assert invoke(*options, "--force").exit_code == 0
    assert (article / "other.yaml").read_text(encoding="utf-8") == (article / FILE).read_text(encoding="utf-8")


def test_what_does_not_fit_is_rejected_before_the_file_is_written(article: Path, invoke: Invoke) -> None:
    cases = {
        ("-t", "artcle"): "did you mean public.article?",
        ("-t", "article", "-i", "boddy"): "public.article has no column boddy to embed; its columns are id, title,",
        ("-t", "article", "-i", "body", "-m", "none"): "The model 'none' does not exist.",
        ("-t", "article", "-i", "body", "-o", "title"): "the column title of public.article exists and is of type text",
    }
    for options, words in cases.items():
        result = invoke("init", *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr
    assert not (article / FILE).exists()


def test_names_and_types_that_need_quotes_or_a_template(
    article: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    connection.execute('CREATE TABLE "My.Table" (id INT8 PRIMARY KEY, "it\'s: #1" TEXT, "null" TEXT)')
    for number, name in enumerate(("it's: #1", "null")):
        assert invoke("init", "-t", '"My.Table"', "-i", name, "-o", f"v{number}", "--force").exit_code == 0
        (column,) = load_config(article / FILE).vectors
        assert (column.table.name, column.input) == ("My.Table", name)
    assert invoke("init", "-t", "article", "-i", "attributes", "--force").exit_code == 0
    (column,) = load_config(article / FILE).vectors
    assert (column.template, column.output) == ("{attributes}", "attributes_vector")


def test_on_a_terminal_it_asks_until_the_answer_is_valid(article: Path) -> None:
    # Table, an invalid and a valid input, the default of the output, and the default of the model.
    shown = run_on_terminal([*CRDBVEC, "init"], b"\nnothing\ntitle, body\n\n\n", columns=200)
    assert "crdbvec.yaml written: public.article.title_vector, from title, body" in shown
    assert "Input column: title, body" in shown
    assert "'nothing' is not one of them." in shown
    assert load_config(article / FILE).vectors[0].input == ("title", "body")
