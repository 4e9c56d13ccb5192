"""The shell and Python blocks of README.md and docs/ are run, on a table like the one that the pages describe.

A block that cannot be run has a comment `<!-- not run: reason -->` before it. Each page has a database of its own, and
its blocks are run in their order.
"""

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import yaml
from click.testing import CliRunner

from crdbvec_pipelines import open_column
from crdbvec_pipelines.cli import main
from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding import ModelRegistry
from crdbvec_pipelines.search import Searcher
from tests.documentation.documents import DOCUMENTS, Block, blocks
from tests.support.models import WRAPPERS, CallLog
from tests.support.processes import ROOT
from tests.support.servers import Server

SHELL = ("console", "bash")
# These have tests of their own, which run each of their blocks.
TESTED_ELSEWHERE = {
    ("docs/pandas.md", "python"),
    ("docs/models.md", "python"),
    # tests/upgrade/test_page.py
    ("docs/upgrade.md", "console"),
}
# These pages create their own table and configuration, and are followed from the first block to the last one.
WALKTHROUGHS = [
    ROOT / "docs" / name
    for name in ("tutorial.md", "tables-without-a-key.md", "tenants-and-regions.md", "from-langchain.md")
]
URL_ON_THE_PAGES = "postgresql://user@host:26257/db"
TABLE = """
CREATE TABLE passage (
  id INT8 PRIMARY KEY, title TEXT, passage TEXT, year INT4, lang TEXT, tenant_id INT4, user_id UUID, word TEXT,
  attributes JSONB
)
"""
ENTRY = {
    "table": "public.passage",
    "input": "passage",
    "output": "passage_vector",
    "model": "stub_hash",
    "index": {"min_coverage": 0.5},
    "text_index": {"language": "english"},
}
QUESTIONS = '{"query": "star 3", "relevant": [3]}\n{"query": "star 5", "relevant": [5]}\n'


def pages(*languages: str) -> list[Path]:
    """Return the documents with a block to be run."""
    return [
        path
        for path in DOCUMENTS
        if path not in WALKTHROUGHS
        if any(is_run(block) for block in blocks(path) if block.language in languages)
    ]


def is_run(block: Block) -> bool:
    """Return whether this file runs a block."""
    place = (block.document.relative_to(ROOT).as_posix(), block.language)
    return block.language in (*SHELL, "python") and block.reason is None and place not in TESTED_ELSEWHERE


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def project(tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch, calls: CallLog) -> Iterator[str]:
    """A working directory with crdbvec.yaml and model wrappers, and a database with the table; yields its URL."""
    wrappers = tmp_path / "models"
    wrappers.mkdir()
    shutil.copy(WRAPPERS / "stub_hash.py", wrappers)
    shutil.copy(WRAPPERS / "stub_other.py", wrappers / "another_model.py")
    config = {"models": {"directories": [str(wrappers)]}, "vectors": [ENTRY]}
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "crdbvec.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "questions.jsonl").write_text(QUESTIONS, encoding="utf-8")
    monkeypatch.chdir(folder)
    with postgres.new_database() as url:
        monkeypatch.setenv("CRDBVEC_URL", url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(TABLE)
            for number in (*range(1, 40), 1187, 4711):
                connection.execute(
                    "INSERT INTO passage VALUES (%s, 'The title', %s, 1990, 'en', 7, gen_random_uuid(), 'star', "
                    """'{"color": "red"}')""",
                    (number, f"star {number} is bright, and request 3fa9c1 failed"),
                )
        yield url


def run(command: str) -> None:
    """Run one line of a shell block; only `crdbvec` is run, so a block with another program needs a comment."""
    program, *arguments = shlex.split(command)
    assert program == "crdbvec", f"add a comment with the reason: {command} cannot be run here"
    result = CliRunner().invoke(main, arguments, input="")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, f"{command}: {result.output}"


def nothing(folder: Path) -> None:
    """A command that needs no file changed before or after it."""


def prepare_crdbvec_init(folder: Path) -> None:
    """`crdbvec init` writes a new file."""
    (folder / "crdbvec.yaml").rename(folder / "kept.yaml")


def after_crdbvec_init(folder: Path) -> None:
    (folder / "kept.yaml").rename(folder / "crdbvec.yaml")


def prepare_new_questions(folder: Path) -> None:
    """`crdbvec evaluate --make` writes a new file."""
    (folder / "questions.jsonl").unlink()


def prepare_finish(folder: Path) -> None:
    """The page rolls the migration back, which a user does only if needed."""
    run("crdbvec migrate switch")


BEFORE: dict[str, Callable[[Path], None]] = {
    "crdbvec init -t passage -i passage": prepare_crdbvec_init,
    "crdbvec evaluate questions.jsonl --make 200": prepare_new_questions,
    "crdbvec migrate finish": prepare_finish,
}
AFTER: dict[str, Callable[[Path], None]] = {"crdbvec init -t passage -i passage": after_crdbvec_init}


@pytest.mark.parametrize("document", pages(*SHELL), ids=relative)
def test_shell_blocks_run(document: Path, project: str) -> None:
    if document.parent != ROOT:
        # The pages describe a table that is embedded and indexed; README.md starts before that.
        run("crdbvec embed")
        run("crdbvec index build")
    for block in blocks(document):
        if block.language not in SHELL or not is_run(block):
            continue
        assert block.commands(), f"{block.name} has no line that begins with a prompt"
        for command in block.commands():
            BEFORE.get(command, nothing)(Path())
            run(command.replace("hf_st_all_minilm_l6", "stub_hash"))
            AFTER.get(command, nothing)(Path())


@pytest.mark.parametrize("document", pages("python"), ids=relative)
def test_python_blocks_run(document: Path, project: str) -> None:
    run("crdbvec embed")
    spec = load_config().vectors[0]
    registry = ModelRegistry(load_config().models.directories)
    with Database(project) as database:
        names: dict[str, Any] = {"url": project, "database": database, "column": spec, "Searcher": Searcher, "np": np}
        names |= {"Path": Path, "registry": registry, "model": registry.load(spec.model)}
        for block in blocks(document):
            if block.language == "python" and is_run(block):
                if "open_column" in names and "column." in block.text:
                    # The column of a block before is closed.
                    names["column"] = open_column("public.passage", "passage_vector")
                text = block.text.replace(URL_ON_THE_PAGES, project)
                # The model of the tests is found by its folder.
                text = text.replace("ModelRegistry()", "registry")
                exec(compile(text, block.name, "exec"), names)


@pytest.mark.parametrize("document", WALKTHROUGHS, ids=relative)
def test_page_can_be_followed(document: Path, project: str) -> None:
    file = Path("crdbvec.yaml")
    models = yaml.safe_load(file.read_text(encoding="utf-8"))["models"]
    if not any(block.language == "yaml" for block in blocks(document)):
        run("crdbvec embed")
    for block in blocks(document):
        if block.reason is not None:
            continue
        text = block.text.replace("hf_st_all_minilm_l6", "stub_hash")
        if block.language == "sql":
            with psycopg.connect(project, autocommit=True) as connection:
                connection.execute(text.encode())
        elif block.language == "yaml":
            file.write_text(yaml.safe_dump({**yaml.safe_load(text), "models": models}), encoding="utf-8")
        elif block.language == "python":
            exec(compile(text, block.name, "exec"), {})
        else:
            for command in block.commands():
                if command.startswith("crdbvec init"):
                    file.unlink()
                run(command)


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_reason_of_a_block_that_is_not_run_is_a_sentence(document: Path) -> None:
    reasons = [block.reason for block in blocks(document) if block.reason is not None]
    assert [reason for reason in reasons if len(reason) < 15] == []


def test_comment_without_a_block_is_found() -> None:
    text = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    comments = sum(each.count("<!-- not run: ") for each in text)
    assert comments == sum(block.reason is not None for path in DOCUMENTS for block in blocks(path))
