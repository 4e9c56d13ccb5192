"""Vectors that were in the output column before it was first prepared: rejected, adopted or replaced."""

from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg import sql

from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.pending_reasons import PendingReasons, pending_reasons
from crdbvec_pipelines.database.schema import existing_vectors as module
from crdbvec_pipelines.database.schema.existing_vectors import ExistingVectorsError
from crdbvec_pipelines.database.statement import Statement
from tests.support.models import CallLog, registry, stub_vector
from tests.support.tables import INT_SHAPE, column, create_table, set_text, vectors
from tests.support.work import embed, prepare

pytestmark = pytest.mark.usefixtures("calls")

FILLED, ROWS = 5, 8


@pytest.fixture
def filled(database: Database, connection: psycopg.Connection) -> None:
    """A table whose owner has filled the output column of some rows, and one blank row."""
    if database.dialect.create_extension is not None:
        connection.execute("CREATE EXTENSION vector")
    create_table(connection, INT_SHAPE, [*(f"text {number}" for number in range(ROWS - 1)), " "])
    dimension = len(stub_vector("text"))
    kind = sql.SQL("VECTOR({})").format(sql.Literal(dimension))
    connection.execute(sql.SQL("ALTER TABLE passage ADD COLUMN passage_vector {}").format(kind))
    connection.execute(
        "UPDATE passage SET passage_vector = %s::VECTOR WHERE id IN (SELECT id FROM passage ORDER BY id LIMIT %s)",
        (str([1, *[0] * (dimension - 1)]), FILLED),
    )


def columns(connection: psycopg.Connection) -> list[str]:
    return [each.name for each in connection.execute("SELECT * FROM passage").description or []]


def own_vectors(connection: psycopg.Connection) -> int:
    found = [vector for vector in vectors(connection).values() if vector is not None]
    return sum(is_own(vector) for vector in found)


def reasons_of(database: Database) -> PendingReasons:
    entry = column()
    return pending_reasons(bind_column(database, entry, registry().load(entry.model)))


def is_own(vector: NDArray[np.float32]) -> bool:
    return bool(vector[0] == 1 and not vector[1:].any())


@pytest.mark.usefixtures("filled")
def test_existing_vectors_are_rejected_before_any_change(database: Database, connection: psycopg.Connection) -> None:
    before, entry = columns(connection), column()
    with pytest.raises(ExistingVectorsError) as caught:
        prepare(database, entry)
    assert str(caught.value) == (
        f"{entry.origin}: the column passage_vector of public.passage already contains vectors of unknown origin. Set "
        "existing_vectors (--existing-vectors): `adopt` keeps them as the vectors of the present inputs and model, "
        "`replace` embeds these rows again."
    )
    assert columns(connection) == before
    assert connection.execute("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'crdbvec%'").fetchone() == (0,)


@pytest.mark.usefixtures("filled")
def test_adopted_vectors_are_not_embedded_again(
    database: Database, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS_PER_STATEMENT", 2)
    entry = column(existing_vectors="adopt")
    assert embed(database, entry).rows_embedded == ROWS - 1 - FILLED
    assert own_vectors(connection) == FILLED
    assert embed(database, column()).rows_read == 0
    set_text(connection, INT_SHAPE, 0, "edited")
    calls.clear()
    embed(database, column())
    assert calls.inputs() == ["edited"]


@pytest.mark.usefixtures("filled")
def test_replaced_vectors_are_embedded_again(database: Database, connection: psycopg.Connection) -> None:
    assert embed(database, column(existing_vectors="replace")).rows_embedded == ROWS - 1
    assert own_vectors(connection) == 0
    assert embed(database, column()).rows_read == 0


@pytest.mark.usefixtures("filled")
def test_interrupted_adoption_is_continued(
    database: Database, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_ROWS_PER_STATEMENT", 2)
        execute = Database.execute

        def interrupt(database: Database, statement: Statement, *arguments: Any, **named: Any) -> int:
            done = execute(database, statement, *arguments, **named)
            if statement.name == "adopt_vectors":
                raise KeyboardInterrupt
            return done

        patch.setattr(Database, "execute", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(database, column(existing_vectors="adopt"))
    with pytest.raises(ExistingVectorsError):
        prepare(database, column())
    assert embed(database, column(existing_vectors="adopt")).rows_embedded == ROWS - 1 - FILLED
    assert own_vectors(connection) == FILLED


@pytest.mark.usefixtures("filled")
def test_plan_counts_vectors_of_unknown_origin(database: Database) -> None:
    reasons = reasons_of(database)
    assert (reasons.unknown_origin, reasons.never_embedded, reasons.edited) == (FILLED, ROWS - 1 - FILLED, 0)
    assert reasons.pending == ROWS - 1
    prepare(database, column(existing_vectors="replace"))
    assert reasons_of(database) == reasons


@pytest.mark.usefixtures("filled")
def test_vectors_are_accepted_without_fingerprints_and_rejected_when_these_are_introduced(
    database: Database, connection: psycopg.Connection
) -> None:
    assert embed(database, column(staleness="nulls_only")).rows_embedded == ROWS - 1 - FILLED
    with pytest.raises(ExistingVectorsError):
        prepare(database, column())
    assert embed(database, column(existing_vectors="adopt")).rows_embedded == 0
    assert own_vectors(connection) == FILLED


def test_prepared_column_accepts_vectors_that_are_written_later(
    database: Database, connection: psycopg.Connection
) -> None:
    create_table(connection, INT_SHAPE, ["text"])
    prepare(database, column())
    connection.execute("UPDATE passage SET passage_vector = %s::VECTOR", (str([1] * len(stub_vector("text"))),))
    assert embed(database, column()).rows_embedded == 1
