"""`crdbvec embed`: with options only, with crdbvec.yaml, and with both; its text output and its JSON."""

import re
from dataclasses import fields
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.refresh import options
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.value_text import key_text
from tests.cli.conftest import Invoke, Json
from tests.support.models import WRAPPERS, CallLog
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, SHAPES, KeyShape, create_table, set_text, vectors

# The report has `pictures` if there are any.
REPORT = ({field.name for field in fields(RefreshReport)} - {"pictures"}) | {"rows_per_second", "cost"}


def texts(count: int) -> list[str | None]:
    return [f"text {number}" for number in range(count)]


@pytest.fixture
def configured(project: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose crdbvec.yaml names the table of the tests."""
    monkeypatch.setenv("CRDBVEC_URL", url)
    write_config(project)
    return project


def embedded(connection: psycopg.Connection, output: str = "passage_vector") -> int:
    return sum(vector is not None for vector in vectors(connection, output=output).values())


def test_rows_that_stay_locked_are_reported_with_exit_code_1(
    configured: Path,
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "LOCK_WAIT_SECONDS", 0.2)
    create_table(connection, texts=texts(3))
    # Prepares the table.
    assert invoke("embed", "-n", 1, "-b", 1).exit_code == 0
    with psycopg.connect(url) as application:
        application.execute("SELECT 1 FROM passage WHERE passage = 'text 2' FOR UPDATE")
        result = invoke("embed")
    assert result.exit_code == 1
    assert "1 pending, 1 locked by other transactions and still pending." in result.stdout
    assert "1 rows of public.passage are still pending because other transactions have locked them" in result.stderr
    assert invoke("embed").exit_code == 0
    assert embedded(connection) == 3


def test_options_without_configuration_file(
    project: Path, url: str, connection: psycopg.Connection, invoke: Invoke
) -> None:
    create_table(connection, texts=["a gloss", None])
    flags = ["-u", url, "-t", "passage", "-i", "passage", "-o", "v", "-m", "hf_st_all_minilm_l6"]
    result = invoke("embed", *flags, "-b", 10, "-n", 1, "-w", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("public.passage.v: 1 rows embedded in ")
    assert "1 of 2 have a vector, 0 pending, 1 blank and skipped." in result.stdout
    assert embedded(connection, "v") == 1


def test_url_from_the_environment(
    project: Path, url: str, connection: psycopg.Connection, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection)
    monkeypatch.setenv("CRDBVEC_URL", url)
    flags = ["-t", "passage", "-i", "passage", "-o", "v", "-m", "openai_compatible"]
    assert invoke("embed", *flags).exit_code == 2
    assert invoke("status", "-t", "passage", "-i", "passage", "-o", "v", "-m", "hf_st_all_minilm_l6").exit_code == 0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_configuration_file_of_the_working_directory_is_used(
    configured: Path, connection: psycopg.Connection, shape: KeyShape, read_json: Json
) -> None:
    create_table(connection, shape, [*texts(20), None])
    report = read_json("embed")
    assert (report["rows_embedded"], report["rows_blank"], report["rows_pending"]) == (20, 1, 0)
    assert read_json("embed")["rows_read"] == 0


def test_configuration_file_given_as_option(
    project: Path, url: str, connection: psycopg.Connection, invoke: Invoke, tmp_path: Path
) -> None:
    create_table(connection, texts=texts(3))
    file = write_config(tmp_path)
    assert invoke("embed", "-c", file, "-u", url).exit_code == 0
    assert embedded(connection) == 3


def test_options_replace_values_of_the_file(
    configured: Path, connection: psycopg.Connection, calls: CallLog, read_json: Json
) -> None:
    create_table(connection, texts=texts(30))
    write_config(configured, {"batch_size": 7})
    assert read_json("embed", "-n", 1)["rows_embedded"] == 7
    assert read_json("embed", "-n", 1, "-b", 3)["rows_embedded"] == 3
    calls.clear()
    read_json("embed", "-m", "stub_hash")
    assert calls.batches() == []
    assert embedded(connection) == 30


def test_entry_is_chosen_by_table_and_output(configured: Path, connection: psycopg.Connection, read_json: Json) -> None:
    create_table(connection, texts=texts(3))
    write_config(configured, {"output": "first"}, {"output": "second"})
    report = read_json("embed", "-o", "second")
    assert [vector["output"] for vector in report["vectors"]] == ["second"]
    assert read_json("embed", "-t", "passage")["rows_embedded"] == 3


def test_report_as_json(configured: Path, connection: psycopg.Connection, read_json: Json) -> None:
    create_table(connection, texts=[*texts(5), " "])
    write_config(configured, {"batch_size": 2}, {"output": "other"})
    report = read_json("embed")
    recorded = {"rows_failed_recorded", "rows_deferred"}
    assert set(report) == REPORT | recorded | {"rows_pending", "rows_blank", "vectors"}
    assert (report["rows_embedded"], report["batches"], report["rows_pending"], report["rows_blank"]) == (10, 4, 0, 2)
    assert [set(vector) for vector in report["vectors"]] == [
        REPORT | recorded | {"database", "table", "output", "model"}
    ] * 2
    assert {(v["table"], v["output"], v["model"], v["rows_embedded"]) for v in report["vectors"]} == {
        ("public.passage", "passage_vector", "stub_counting", 5),
        ("public.passage", "other", "stub_counting", 5),
    }


def test_verbose_prints_the_lines_of_the_toolkit(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    create_table(connection, texts=["x" * 50, "two", "three", "four", "five"])
    *lines, done, last = invoke("embed", "-b", 3, "-v").stderr.splitlines()
    keys = [key_text(INT_SHAPE.key(number)) for number in range(5)]
    assert lines == [
        "[INFO] Column passage_vector created",
        "[INFO] Run 1, Batch 1 starting (3 rows)",
        f"[INFO] (batch 1, 1/3) Updating vector for row id {keys[0]}: '{'x' * 40}'",
        f"[INFO] (batch 1, 2/3) Updating vector for row id {keys[1]}: 'two'",
        f"[INFO] (batch 1, 3/3) Updating vector for row id {keys[2]}: 'three'",
        "[INFO] Run 1, Batch 2 starting (2 rows)",
        f"[INFO] (batch 2, 1/2) Updating vector for row id {keys[3]}: 'four'",
        f"[INFO] (batch 2, 2/2) Updating vector for row id {keys[4]}: 'five'",
    ]
    assert re.fullmatch(r"Done in \d+\.\d+ seconds", done)
    assert last == "[INFO] Vectorization complete."
    first, done, last = invoke("embed", "-v").stderr.splitlines()
    assert (first, last) == ("[INFO] Column passage_vector already exists", "[INFO] Vectorization complete.")


def test_verbose_does_not_interpret_texts_and_keys(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    create_table(connection, COMPOSITE_SHAPE, [":smile: [red]it's[/red]\nnext line " + "long " * 40])
    _, _, line, *_ = invoke("embed", "-v").stderr.splitlines()
    assert line == (
        '[INFO] (batch 1, 1/1) Updating vector for row id , -6, 0: ":smile: [red]it\'s[/red]\\nnext line long l"'
    )


def test_summary_names_blank_and_cleared_rows(configured: Path, connection: psycopg.Connection, invoke: Invoke) -> None:
    create_table(connection, texts=texts(4))
    invoke("embed")
    set_text(connection, INT_SHAPE, 0, None)
    (line,) = invoke("embed").stdout.splitlines()
    assert re.fullmatch(
        r"public\.passage\.passage_vector: 0 rows embedded in \d+\.\d s \(0 rows/s\), 3 of 4 have a vector, 0 pending, "
        r"1 blank and skipped, 1 cleared because their input is gone\.",
        line,
    )


def test_process_prints_only_json_on_stdout(
    configured: Path, url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(10))
    done = run_crdbvec(["embed", "-v", "--json"], configured, CRDBVEC_URL=url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{")
    assert done.stdout.count("\n") == 1
    assert len(done.stderr.splitlines()) == 14
    assert embedded(connection) == 10


def test_wrapper_of_the_project_replaces_a_built_in_one(
    configured: Path, connection: psycopg.Connection, read_json: Json, calls: CallLog
) -> None:
    wrappers = configured / "wrappers"
    wrappers.mkdir()
    (wrappers / "color_histogram.py").write_text((WRAPPERS / "stub_counting.py").read_text(), encoding="utf-8")
    write_config(configured, {"model": "color_histogram"}, models={"directories": ["wrappers"]})
    create_table(connection, texts=texts(2))
    assert read_json("embed")["rows_embedded"] == 2
    assert sorted(calls.inputs()) == ["text 0", "text 1"]


def test_next_run_names_the_failed_rows(
    configured: Path, connection: psycopg.Connection, invoke: Invoke, read_json: Json, calls: CallLog
) -> None:
    create_table(connection, texts=["one", "REJECTED", "three"])
    write_config(configured, {"model": "stub_failing"})
    for failed in (1, 0):
        report = read_json("embed")
        assert (report["rows_failed"], report["rows_failed_recorded"], report["rows_deferred"]) == (failed, 1, 1)
        assert report["vectors"][0]["rows_deferred"] == 1
    followed = read_json("embed", "-F", "--max-idle", 0)
    assert (followed["rows_failed"], followed["rows_failed_recorded"], followed["rows_deferred"]) == (0, 1, 1)
    text = invoke("embed", "-F", "--max-idle", 0).stdout
    assert text.endswith("0 failed. Recorded in all runs: 1 failed (run `crdbvec errors list`), 1 of them deferred.\n")
    text = invoke("embed").stdout
    assert "2 of 3 have a vector, 0 pending, 1 failed (run `crdbvec errors list`), 1 of them deferred." in text


def test_summary_names_unreadable_and_truncated_rows(
    configured: Path, connection: psycopg.Connection, invoke: Invoke
) -> None:
    create_table(connection, texts=["a city", "\u0e1b\u0e23\u0e30", "\u0e40\u0e17\u0e28", "word " * 300])
    write_config(configured, {"model": "hf_st_all_minilm_l6"})
    text = invoke("embed").stdout
    assert "1 truncated to the model's maximum input length" in text
    assert "2 unreadable because the model does not know their words" in text
