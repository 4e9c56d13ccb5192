"""Shell completion as a shell requests it: commands, options, tables, columns and models."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.processes import run
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection)
        connection.execute("CREATE SCHEMA other CREATE TABLE pages (id INT8 PRIMARY KEY, body TEXT, title TEXT)")
        yield url


def completions(folder: Path, words: str, **variables: str) -> list[str]:
    """Return what bash offers for the last word of a command line."""
    environment = {
        "_CRDBVEC_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        **variables,
    }
    done = run([sys.executable, "-m", "crdbvec_pipelines"], folder, environment)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_tables_and_columns_of_the_database(tmp_path: Path, url: str) -> None:
    assert completions(tmp_path, "crdbvec embed -t pa", CRDBVEC_URL=url) == ["passage"]
    assert completions(tmp_path, "crdbvec embed -t o", CRDBVEC_URL=url) == ["other.pages"]
    assert completions(tmp_path, "crdbvec embed -t other.pages -i ", CRDBVEC_URL=url) == ["id", "body", "title"]
    assert completions(tmp_path, "crdbvec embed -t missing -i ", CRDBVEC_URL=url) == []


def test_names_of_the_configuration_without_a_database(tmp_path: Path) -> None:
    write_config(tmp_path, {"output": "first"}, {"table": "other.pages", "output": "second"})
    assert completions(tmp_path, "crdbvec status -t ") == ["other.pages", "passage", "public.passage"]
    assert completions(tmp_path, "crdbvec status -o ") == ["first", "second"]
    assert completions(tmp_path, "crdbvec status -t other.pages -o ") == ["second"]
    assert "stub_counting" in completions(tmp_path, "crdbvec embed -m stub_")
    assert completions(tmp_path, "crdbvec model desc color") == ["color_histogram"]


def test_commands_and_options(tmp_path: Path) -> None:
    assert completions(tmp_path, "crdbvec in") == ["index", "init"]
    assert completions(tmp_path, "crdbvec index ") == ["build", "explain", "predict", "status", "tune"]
    assert completions(tmp_path, "crdbvec --v") == ["--version"]


def test_an_invalid_configuration_does_not_disturb_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "crdbvec.yaml").write_text("vectors: [", encoding="utf-8")
    assert completions(tmp_path, "crdbvec status -t ") == []
    assert "hf_st_all_minilm_l6" in completions(tmp_path, "crdbvec embed -m hf")
