"""`crdbvec errors`: what is shown of rows that failed, and releasing them."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Invoke, Json
from tests.support.models import CallLog
from tests.support.projects import write_config
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, UUID_SHAPE, KeyShape, create_table

Failed = Callable[..., None]


@pytest.fixture
def failed(
    url: str,
    connection: psycopg.Connection,
    project: Path,
    invoke: Invoke,
    calls: CallLog,
    monkeypatch: pytest.MonkeyPatch,
) -> Failed:
    """Makes a table with three rows, of which the second failed."""
    monkeypatch.setenv("CRDBVEC_URL", url)

    def make(shape: KeyShape = INT_SHAPE, text: str = "POISON geheim") -> None:
        create_table(connection, shape, ["a", text, "c"])
        write_config(project, {"model": "stub_moody"})
        result = invoke("embed")
        assert result.exit_code == 0, result.output
        assert "1 failed (see crdbvec errors list)" in result.output

    return make


@pytest.mark.parametrize("shape", [INT_SHAPE, UUID_SHAPE, COMPOSITE_SHAPE], ids=str)
def test_a_failed_row_is_listed_with_its_reason_and_without_its_text(
    failed: Failed, invoke: Invoke, read_json: Json, shape: KeyShape
) -> None:
    failed(shape)
    (found,) = read_json("errors", "list")
    assert list(map(str, found["key"])) == list(map(str, shape.key(1)))
    assert (found["table"], found["output"]) == ("public.passage", "passage_vector")
    assert (found["error_class"], found["attempts"]) == ("poison", 1)
    assert datetime.fromisoformat(found["next_try"]) > datetime.fromisoformat(found["last_seen"])
    assert "ValueError" in found["message"]
    text = invoke("errors", "list").output
    assert "poison" in text
    assert "geheim" not in text + str(found)


def test_where_nothing_failed_that_is_said(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=["a"])
    write_config(project)
    # Neither before the column is there nor after.
    assert invoke("errors", "list", "-u", url).output == "No rows have failed.\n"
    invoke("embed", "-u", url)
    assert invoke("errors", "list", "-u", url).output == "No rows have failed.\n"
    assert read_json("errors", "list", "-u", url) == []
    assert invoke("errors", "retry", "-u", url).output == "0 failed rows are due now.\n"


def test_no_more_rows_are_listed_than_asked_for(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=[f"POISON {number}" for number in range(5)] + ["a"])
    write_config(project, {"model": "stub_moody"})
    invoke("embed", "-u", url)
    assert len(read_json("errors", "list", "-u", url, "-l", "2")) == 2
    assert len(read_json("errors", "list", "-u", url)) == 5


def test_a_released_row_is_tried_by_the_next_refresh(
    failed: Failed, invoke: Invoke, read_json: Json, calls: CallLog
) -> None:
    failed()
    assert read_json("embed")["rows_read"] == 0
    assert read_json("errors", "retry") == {"released": 1}
    report = read_json("embed")
    assert (report["rows_read"], report["rows_failed"]) == (1, 1)
    assert read_json("errors", "list")[0]["attempts"] == 2


def test_one_row_is_released_by_its_key(failed: Failed, invoke: Invoke, read_json: Json) -> None:
    failed(COMPOSITE_SHAPE)
    key = [part for value in COMPOSITE_SHAPE.key(1) for part in ("-k", str(value))]
    other = [part for value in COMPOSITE_SHAPE.key(2) for part in ("-k", str(value))]
    assert read_json("errors", "retry", *other) == {"released": 0}
    assert read_json("errors", "retry", *key) == {"released": 1}


def test_a_key_with_too_few_parts_is_refused_with_the_parts_there_are(failed: Failed, invoke: Invoke) -> None:
    failed(COMPOSITE_SHAPE)
    result = invoke("errors", "retry", "-k", "one")
    assert result.exit_code == 2
    assert "The key of public.passage is (realm, chapter, verse); give -k once for each of them." in result.output


def test_a_repaired_row_is_no_longer_listed(
    failed: Failed, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    failed()
    connection.execute("UPDATE passage SET passage = 'mended' WHERE passage LIKE 'POISON%'")
    assert read_json("embed")["rows_embedded"] == 1
    assert read_json("errors", "list") == []
    (status,) = read_json("status")
    assert (status["embedded"], status["failed"]) == (3, 0)


def test_a_failed_row_is_counted_in_the_status(failed: Failed, read_json: Json) -> None:
    failed()
    (status,) = read_json("status")
    assert (status["rows"], status["embedded"], status["pending"], status["failed"]) == (3, 2, 0, 1)
