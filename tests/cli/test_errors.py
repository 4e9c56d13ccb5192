"""`crdbvec errors`: listing failed rows and releasing them."""

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
    """Return a function that creates a table with three rows, of which the second failed."""
    monkeypatch.setenv("CRDBVEC_URL", url)

    def make(shape: KeyShape = INT_SHAPE, text: str = "REJECTED topsecret") -> None:
        create_table(connection, shape, ["a", text, "c"])
        write_config(project, {"model": "stub_failing"})
        result = invoke("embed")
        assert result.exit_code == 3, result.output
        assert "1 failed (run `crdbvec errors list`)" in result.output

    return make


@pytest.mark.parametrize("shape", [INT_SHAPE, UUID_SHAPE, COMPOSITE_SHAPE], ids=str)
def test_failed_row_is_listed_with_its_reason_and_without_its_text(
    failed: Failed, invoke: Invoke, read_json: Json, shape: KeyShape
) -> None:
    failed(shape)
    (found,) = read_json("errors", "list")
    assert list(map(str, found["key"])) == list(map(str, shape.key(1)))
    assert (found["table"], found["output"]) == ("public.passage", "passage_vector")
    assert (found["status"], found["attempts"]) == ("rejected", 1)
    assert datetime.fromisoformat(found["next_retry_at"]) > datetime.fromisoformat(found["last_seen"])
    assert "ValueError" in found["message"]
    assert found["reason"] == "rejected"
    text = invoke("errors", "list").output
    assert "rejected" in text
    assert "topsecret" not in text + str(found)


def test_no_failed_rows(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=["a"])
    write_config(project)
    # Both before and after the column is created.
    assert invoke("errors", "list", "-u", url).output == "No rows have failed.\n"
    invoke("embed", "-u", url)
    assert invoke("errors", "list", "-u", url).output == "No rows have failed.\n"
    assert read_json("errors", "list", "-u", url) == []
    assert invoke("errors", "retry", "-u", url).output == "0 failed rows released; the next refresh tries them again.\n"


def test_limit_of_listed_rows(
    url: str, connection: psycopg.Connection, project: Path, invoke: Invoke, read_json: Json
) -> None:
    create_table(connection, texts=[f"REJECTED {number}" for number in range(5)] + ["a"])
    write_config(project, {"model": "stub_failing"})
    invoke("embed", "-u", url)
    assert len(read_json("errors", "list", "-u", url, "-l", "2")) == 2
    assert len(read_json("errors", "list", "-u", url)) == 5


def test_released_row_is_tried_by_the_next_refresh(
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


def test_key_with_too_few_columns_is_rejected_with_the_column_names(failed: Failed, invoke: Invoke) -> None:
    failed(COMPOSITE_SHAPE)
    result = invoke("errors", "retry", "-k", "one")
    assert result.exit_code == 2
    assert "The key of public.passage is (realm, chapter, verse). Give -k once for each column." in result.output


def test_repaired_row_is_no_longer_listed(
    failed: Failed, connection: psycopg.Connection, invoke: Invoke, read_json: Json
) -> None:
    failed()
    connection.execute("UPDATE passage SET passage = 'repaired' WHERE passage LIKE 'REJECTED%'")
    assert read_json("embed")["rows_embedded"] == 1
    assert read_json("errors", "list") == []
    (status,) = read_json("status")
    assert (status["embedded"], status["failed"]) == (3, 0)


def test_failed_row_is_counted_in_the_status(failed: Failed, read_json: Json) -> None:
    failed()
    (status,) = read_json("status")
    assert (status["rows"], status["embedded"], status["pending"], status["failed"]) == (3, 2, 0, 1)
