"""What is printed: strict JSON, and keys that can be typed on the command line again."""

import json
import subprocess
import sys
import uuid
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crdbvec_pipelines.cli.output import print_json
from crdbvec_pipelines.value_text import key_text
from tests.cli.conftest import Invoke, Json
from tests.support.projects import write_config


def not_json(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (-float("inf"), "-Infinity"),
        ({"a": [1.5, (float("nan"),)]}, {"a": [1.5, ["NaN"]]}),
        ({1: {True: float("inf")}}, {"1": {"True": "Infinity"}}),
        (Decimal("NaN"), "NaN"),
        (Decimal("1.10"), "1.10"),
        (b"\xff\x00", "\\xff00"),
        (memoryview(b"\xff"), "\\xff"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2024, 2, 29), "2024-02-29"),
        (None, None),
        ([True, 1, "x"], [True, 1, "x"]),
    ],
)
def test_json_is_strict(capsys: pytest.CaptureFixture[str], value: object, expected: object) -> None:
    print_json(value)
    assert json.loads(capsys.readouterr().out, parse_constant=not_json) == expected


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("BYTEA", ["\\xff00", "\\x"]),
        ("FLOAT8", ["NaN", "Infinity", "-Infinity", "1e300", "0.1"]),
        ("BOOL", ["true", "false"]),
        ("TEXT[]", ['{a,"b c","d\\"e\\\\",NULL,"null",""}', "{}"]),
        ("INT4[]", ["{{1,2},{3,4}}"]),
        ("INTERVAL", ["1 day 02:03:04.5"]),
        ("NUMERIC", ["1.10", "NaN"]),
        ("TIMESTAMPTZ", ["2024-02-29 12:34:56.789+00"]),
        ("UUID", ["00000000-0000-0000-0000-000000000001"]),
        ("INT4RANGE", ["[1,5)"]),
    ],
)
def test_printed_key_is_read_as_the_same_value(connection: psycopg.Connection, kind: str, values: list[str]) -> None:
    for value in values:
        typed = f"SELECT %s::{kind}".encode()
        (read,) = connection.execute(typed, (value,)).fetchone() or ()
        (again, same) = (
            connection.execute(
                f"SELECT %s::{kind}, %s::{kind} = %s::{kind}".encode(), (key_text([read]),) * 2 + (value,)
            )
        ).fetchone() or ()
        assert same, (value, key_text([read]), again)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("BYTEA", ["\\xff00", "\\xff01"]),
        ("pair", ["(1,a)", '(2,"b c")']),
        ("BOOL", ["true", "false"]),
    ],
)
def test_printed_keys_can_be_typed(
    project: Path,
    url: str,
    connection: psycopg.Connection,
    invoke: Invoke,
    read_json: Json,
    kind: str,
    keys: list[str],
) -> None:
    connection.execute("CREATE TYPE pair AS (n INT8, t TEXT)")
    connection.execute(f"CREATE TABLE passage (id {kind} PRIMARY KEY, passage TEXT)".encode())
    for key in keys:
        connection.execute(f"INSERT INTO passage VALUES (%s::{kind}, %s)".encode(), (key, f"text {key}"))
    write_config(project)
    assert invoke("embed", "-u", url, "-v").exit_code == 0
    assert read_json("embed", "-u", url)["rows_embedded"] == 0
    lines = invoke("search", f"text {keys[0]}", "-u", url, "-l", "1").stdout.splitlines()
    printed = lines[1].split(" --> ")[1]
    (hit,) = read_json("search", "--like", printed, "-u", url)
    assert hit["input"] == f"text {keys[1]}"


def test_argument_that_is_not_text_is_rejected_in_one_sentence(invoke: Invoke) -> None:
    for arguments in (["search", "caf\udce9"], ["status", "-t", "\udcff"], ["\udcff"]):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert "is not valid UTF-8. Write it in UTF-8." in result.output


def test_suggestion_ends_with_one_punctuation_mark(
    project: Path, url: str, connection: psycopg.Connection, invoke: Invoke
) -> None:
    connection.execute('CREATE TABLE "Passage" (id INT8 PRIMARY KEY, passage TEXT)')
    write_config(project)
    assert invoke("status", "-u", url).output.endswith("did you mean public.Passage?\n")
    write_config(project, {"table": "public.Passage", "input": "pasage"})
    assert invoke("status", "-u", url).output.endswith("did you mean passage?\n")


def test_full_device_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from crdbvec_pipelines.cli import main; main()", "model", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: The output cannot be written, because the device has no space left.\n",
    )


def test_lack_of_memory_is_one_sentence(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("crdbvec_pipelines.cli.target.Selection.resolve", fail)
    result = invoke("embed")
    assert result.exit_code == 1
    assert result.output.startswith("Error: The process ran out of memory; no work is lost. Lower batch_size")
