"""The state of a key range from one read, on tables with rows in every state."""

from dataclasses import replace

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.predicates import Pass
from crdbvec_pipelines.database.rows.range_state import RangeState, range_state
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.keyspace import KeyRange, ranges_between
from tests.support.models import STUB_DIM, CallLog
from tests.support.tables import INT_SHAPE, SHAPES, KeyShape, column, create_table, insert_rows, set_text
from tests.support.work import FakeModel, embed, prepare, prepared


def test_every_state_is_counted(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    spec = column(model="stub_failing")
    create_table(connection, INT_SHAPE, ["a", "b", "c", "d", "", None])
    embed(database, spec)
    set_text(connection, INT_SHAPE, 0, "edited")
    set_text(connection, INT_SHAPE, 1, " ")
    insert_rows(connection, INT_SHAPE, {10: "new", 11: "REJECTED"})
    bound = prepared(database, spec)
    state = range_state(bound, KeyRange())
    assert (state.rows, state.vectors, state.unembedded, state.stale) == (8, 4, 2, 1)
    assert (state.blank, state.clearable, state.failed, state.deferred) == (3, 1, 0, 0)
    assert (state.pending, state.is_complete, state.with_input, state.current) == (3, False, 5, 2)
    assert state.coverage == pytest.approx(2 / 5)
    embed(database, spec)
    state = range_state(bound, KeyRange())
    assert (state.unembedded, state.stale, state.failed, state.deferred) == (1, 0, 1, 1)
    assert (state.pending, state.is_complete, state.drifted, state.unusable) == (0, True, 0, 0)
    assert state.coverage == pytest.approx(4 / 5)
    VectorRows(bound).errors.retry()
    state = range_state(bound, KeyRange())
    assert (state.pending, state.failed, state.deferred) == (1, 1, 0)


def test_a_range_counts_its_own_rows(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(10)])
    bound = prepared(database, column())
    keys = sorted(INT_SHAPE.key(number) for number in range(10))
    parts = [KeyRange(None, keys[4]), KeyRange(keys[4], keys[7]), KeyRange(keys[7], None)]
    states = [range_state(bound, part) for part in parts]
    assert [state.rows for state in states] == [4, 3, 3]
    assert sum(states, RangeState()) == range_state(bound, KeyRange())


def test_vectors_are_measured(database: Database, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    embed(database, column())
    first, second, _ = sorted(INT_SHAPE.key(number)[0] for number in range(3))
    connection.execute("UPDATE passage SET passage_vector = '[0,0,0,0,0,0,0,0]' WHERE id = %s", (first,))
    connection.execute("UPDATE passage SET passage_vector = '[3,4,0,0,0,0,0,0]' WHERE id = %s", (second,))
    state = range_state(prepared(database, column()), KeyRange())
    assert (state.zero, state.unusable, state.smallest_norm) == (1, 1, 0.0)
    assert state.largest_norm is not None
    assert state.largest_norm >= 5.0


def test_an_empty_range_is_complete(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, [])
    state = range_state(prepared(database, column()), KeyRange())
    assert (state.rows, state.is_complete, state.coverage, state.smallest_norm) == (0, True, 1.0, None)


def test_vectors_of_a_wrong_dimension_are_counted(
    database: Database, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b"])
    embed(database, column())
    other = replace(prepared(database, column()), model=FakeModel(dim=STUB_DIM + 1))
    assert range_state(other, KeyRange()).wrong_dimension == 2


def test_a_vector_without_fingerprint_has_drifted(database: Database, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a", "b"])
    bound = prepared(database, column())
    connection.execute("UPDATE passage SET passage_vector = '[1,2,3,4,5,6,7,8]' WHERE id = %s", INT_SHAPE.key(0))
    assert range_state(bound, KeyRange()).drifted == 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_drift_is_counted_within_a_key_range(
    database: Database, connection: psycopg.Connection, calls: CallLog, shape: KeyShape
) -> None:
    create_table(connection, shape, [f"text {number}" for number in range(30)])
    embed(database, column())
    keys = [
        row.key for row in prepare(database, column(), model_id="another").read(KeyRange(), Pass("stale"), None, 30)
    ]
    first, second, third = ranges_between([keys[10], keys[20]])
    for number in (0, 11, 29):
        set_text(connection, shape, number, "edited")
    set_text(connection, shape, 12, None)
    bound = prepared(database, column())
    states = [range_state(bound, part) for part in (first, second, third)]
    assert [state.vectors for state in states] == [10, 10, 10]
    assert sum(state.drifted for state in states) == range_state(bound, KeyRange()).drifted == 4
