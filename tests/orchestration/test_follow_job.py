"""The follow job: it embeds what is pending wherever it lies, and marks exactly the partitions it touched."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.keyspace import KeyRange, parse_partition_key
from crdbvec_pipelines.naming import TableName
from tests.orchestration.project import Project, project
from tests.support.models import CallLog, stub_vector
from tests.support.tables import (
    COMPOSITE_SHAPE,
    INT_SHAPE,
    SHAPES,
    UUID_SHAPE,
    KeyShape,
    create_table,
    insert_rows,
    set_text,
    vectors,
)

pytestmark = pytest.mark.usefixtures("calls")


def holds(connection: psycopg.Connection, shape: KeyShape, key_range: KeyRange, number: int) -> bool:
    """Whether a row lies in a key range, as the server orders its keys."""
    columns = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, shape.columns)))
    values = sql.SQL("({})").format(
        sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(kind)) for kind in shape.columns.values())
    )
    tests = [(sql.SQL("="), shape.key(number))]
    tests += [(sql.SQL(">="), key_range.lower)] if key_range.lower else []
    tests += [(sql.SQL("<"), key_range.upper)] if key_range.upper else []
    where = sql.SQL(" AND ").join(sql.SQL(" ").join((columns, operator, values)) for operator, _ in tests)
    given = [value for _, bound in tests for value in bound]
    return bool(connection.execute(sql.SQL("SELECT 1 FROM passage WHERE {}").format(where), given).fetchall())


def expected(made: Project, connection: psycopg.Connection, shape: KeyShape, numbers: range) -> dict[str, int]:
    """How many of some rows lie in each partition that holds any."""
    ranges = {key: parse_partition_key(key, TableName("public", "passage")) for key in made.partitions}
    counts = {
        key: sum(holds(connection, shape, key_range, number) for number in numbers) for key, key_range in ranges.items()
    }
    assert sum(counts.values()) == len(numbers)
    return {key: count for key, count in counts.items() if count}


def embedded(made: Project) -> dict[str, int]:
    return {key: metadata["rows_embedded"] for key, metadata in made.materialized().items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exactly_the_touched_partitions_are_materialized(
    url: str, connection: psycopg.Connection, shape: KeyShape
) -> None:
    create_table(connection, shape, [""] * 60)
    with project(url, partitions={"target_rows": 6}) as made:
        made.prepare()
        assert len(made.partitions) >= 8
        insert_rows(connection, shape, {number: f"text {number}" for number in range(100, 105)})
        made.run("follow")
        assert embedded(made) == expected(made, connection, shape, range(100, 105))
        found = vectors(connection, shape)
        for number in range(100, 105):
            vector = found[shape.key(number)]
            assert vector is not None
            assert (vector == stub_vector(f"text {number}")).all()


def test_nothing_pending_marks_nothing(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, texts=[""] * 20)
    with project(url, partitions={"target_rows": 5}) as made:
        made.prepare()
        result = made.run("follow")
        assert made.materialized() == {}
        assert result.success


def test_a_table_that_is_not_ready_is_made_so(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, COMPOSITE_SHAPE, [f"text {number}" for number in range(30)])
    with project(url, partitions={"target_rows": 5}) as made:
        made.run("follow")
        assert set(made.materialized()) == set(made.partitions)
        assert sum(embedded(made).values()) == 30


def test_a_table_in_one_partition_is_marked_as_a_whole(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "b"])
    with project(url) as made:
        made.run("follow")
        assert embedded(made) == {"public:passage::min::max": 2}


def test_rows_that_arrive_meanwhile_are_embedded_in_another_round(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    # Somebody else's trigger adds a row for as long as there are fewer than four: one with each vector that is written.
    connection.execute(
        "CREATE FUNCTION more() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        "IF (SELECT count(*) FROM passage) < 4 THEN "
        "INSERT INTO passage (id, passage) VALUES ((NEW).id - 1, 'next to ' || (NEW).passage); END IF; "
        "RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER more BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION more()")
    with project(url) as made:
        made.run("follow")
        assert len(calls.inputs()) == 4
        assert all(vector is not None for vector in vectors(connection).values())


def test_no_further_round_begins_when_the_time_is_over(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    connection.execute(
        "CREATE FUNCTION more() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO passage (id, passage) VALUES ((NEW).id - 1, 'next to ' || (NEW).passage); RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER more BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION more()")
    with project(url) as made:
        made.run("follow", {"ops": {made.names.op("follow"): {"config": {"minutes": 1e-9}}}})
        assert calls.inputs() == ["a"]


def test_edited_rows_are_included_where_the_sensor_saw_some(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ DEFAULT now()")
    with project(url, updated_at="updated", partitions={"target_rows": 1}) as made:
        made.run("follow")
        set_text(connection, INT_SHAPE, 1, "edited")
        calls.clear()
        made.run("follow")
        assert calls.inputs() == []
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        made.run("follow", {"ops": {made.names.op("follow"): {"config": {"edited_since": since}}}})
        assert calls.inputs() == ["edited"]


def test_a_bad_row_shows_in_the_metadata_and_stops_nobody(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, texts=["a", "POISON", "c"])
    with project(url, model="stub_moody") as made:
        made.run("follow")
        (metadata,) = made.materialized().values()
        assert (metadata["rows_embedded"], metadata["rows_failed"]) == (2, 1)


def test_a_model_that_is_away_fails_the_run_with_its_sentence_and_blames_no_row(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a"])
    calls.path.with_suffix(".away").touch()
    with project(url, model="stub_moody") as made:
        with pytest.raises(dg.Failure, match="overloaded"):
            made.run("follow")
        assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)
        assert made.materialized() == {}


def test_what_was_embedded_before_the_model_went_away_is_marked_all_the_same(
    url: str, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "AWAY", "d"])
    with project(url, model="stub_moody", batch_size=1, partitions={"target_rows": 1}) as made:
        made.prepare()
        with pytest.raises(dg.Failure, match="overloaded"):
            made.run("follow")
        done = expected(made, connection, INT_SHAPE, range(2))
        assert embedded(made) == done
        assert sum(done.values()) == 2
        set_text(connection, INT_SHAPE, 2, "c")
        made.run("follow")
        assert set(embedded(made)) == set(expected(made, connection, INT_SHAPE, range(4)))


def test_the_job_runs_in_one_process_and_says_whose_it_is(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE)
    with project(url) as made:
        job = made.definitions.resolve_job_def("passage_vector__follow")
        assert job.executor_def.name == "in_process"
        assert job.run_tags["crdbvec/vector_column"] == "public__passage__passage_vector"
