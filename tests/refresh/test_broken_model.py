"""A model that stops working in the middle of a refresh: no row is recorded as failed, and the rows stay pending."""

from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.encoding.encoder import EncodedBatch
from crdbvec_pipelines.encoding.errors import EncoderUnavailable, InputRejected, ModelBroken, RowsRejected
from crdbvec_pipelines.refresh.model_check import KnownInput
from tests.support.models import stub
from tests.support.processes import run_crdbvec
from tests.support.projects import write_config
from tests.support.tables import column, create_table
from tests.support.work import embed, prepare

SPEC = column(model="stub_hash")

Batch = Sequence[tuple[object, object]]
Failure = Callable[[Batch], Exception]

BREAKS = """
import hashlib

calls = 0


def embedding_label():
    return "breaks"


embedding_description = embedding_label


def embedding_dim():
    return 8


def embedding_encode(value, verbose=False):
    return [byte / 128 - 1 for byte in hashlib.sha256(str(value).encode()).digest()[:8]]


def embedding_encode_batch(index, batch, verbose=False):
    global calls
    calls += 1
    if calls > 2:
        raise RuntimeError("CUDA error: device-side assert triggered")
    return [(key, embedding_encode(value)) for key, value in batch]
"""


def rejects_all(batch: Batch) -> Exception:
    return InputRejected("no", reason="rejected", detail="RuntimeError")


def names_all(batch: Batch) -> Exception:
    return RowsRejected("", {place: InputRejected() for place in range(len(batch))})


class BreakingEncoder:
    """A model that rejects every input after some rows, or only some inputs."""

    def __init__(self, after_rows: int, failure: Failure) -> None:
        self._left = after_rows
        self._failure = failure
        self._encoder = stub("stub_hash")
        self.calls = 0

    def encode(self, batch: Batch, batch_index: int = 0) -> EncodedBatch:
        self.calls += 1
        if self._left <= 0:
            raise self._failure(batch)
        self._left -= len(batch)
        return self._encoder.encode(batch, batch_index)


@pytest.mark.parametrize("failure", [rejects_all, names_all])
@pytest.mark.parametrize("workers", [1, 3])
def test_no_row_is_recorded_as_failed(
    database: Database, connection: psycopg.Connection, failure: Failure, workers: int
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(500)])
    encoder = BreakingEncoder(40, failure)
    known = KnownInput()
    known.remember([(0, "encoded by an earlier batch")])
    with pytest.raises(ModelBroken, match="it rejects an input that it has encoded before"):
        embed(database, SPEC, encoder, batch_size=20, workers=workers, known_input=known)
    rows = prepare(database, SPEC)
    assert rows.errors.count().total == 0
    # Few rows are tried before the model is checked.
    assert encoder.calls < 70
    assert rows.count_unembedded(1_000) >= 460
    embed(database, SPEC)
    assert rows.count_unembedded(1_000) == 0


def test_a_model_that_breaks_at_the_last_row(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(21)])
    with pytest.raises(ModelBroken):
        embed(database, SPEC, BreakingEncoder(20, rejects_all), batch_size=20)
    rows = prepare(database, SPEC)
    assert (rows.errors.count().total, rows.count_unembedded(100)) == (0, 1)


def test_refreshes_with_the_same_options_share_what_is_known(
    database: Database, connection: psycopg.Connection
) -> None:
    """A follow process and a run over several partitions start many refreshes with one model."""
    create_table(connection, texts=["a"])
    known = KnownInput()
    embed(database, SPEC, known_input=known)
    connection.execute("INSERT INTO passage (id, passage) VALUES (1, 'b')")
    with pytest.raises(ModelBroken):
        embed(database, SPEC, BreakingEncoder(0, rejects_all), known_input=known)
    assert prepare(database, SPEC).errors.count().total == 0


def test_a_run_of_rejected_rows_is_recorded_if_the_model_works(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["good", *(f"REJECTED {number}" for number in range(100)), "good too"])

    class Picky:
        def encode(self, batch: Batch, batch_index: int = 0) -> EncodedBatch:
            if any("REJECTED" in str(value) for _, value in batch):
                raise InputRejected
            return stub("stub_hash").encode(batch, batch_index)

    report = embed(database, SPEC, Picky(), batch_size=20)
    assert (report.rows_embedded, report.rows_failed) == (2, 100)


def test_an_unavailable_model_found_by_the_check_is_unavailable(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, texts=["a", "b", "c"])

    class Flaky:
        calls = 0

        def encode(self, batch: Batch, batch_index: int = 0) -> EncodedBatch:
            self.calls += 1
            if self.calls == 1:
                return stub("stub_hash").encode(batch, batch_index)
            raise InputRejected if self.calls == 2 else EncoderUnavailable("The model is overloaded.", 1.0)

    with pytest.raises(EncoderUnavailable, match="overloaded"):
        embed(database, SPEC, Flaky(), batch_size=1)
    assert prepare(database, SPEC).errors.count().total == 0


def test_the_command_ends_with_exit_code_1(url: str, connection: psycopg.Connection, tmp_path: Path) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(500)])
    (tmp_path / "breaks.py").write_text(BREAKS, encoding="utf-8")
    entry = {"model": "breaks", "batch_size": 10}
    write_config(tmp_path, entry, models={"directories": [str(tmp_path)]})
    done = run_crdbvec(["embed"], tmp_path, CRDBVEC_URL=url)
    assert done.returncode == 1, done
    assert "The model has stopped working" in done.stderr
    assert "RuntimeError" in done.stderr
