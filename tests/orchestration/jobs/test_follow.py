"""The follow job: it embeds pending rows wherever they are, and materializes exactly the partitions that it touched."""

import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.keyspace import KeyRange, parse_partition_key
from crdbvec_pipelines.naming import TableName
from tests.orchestration.evaluations import CHECKS, latest
from tests.orchestration.project import BuildProject, Project
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
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("calls")


def contains(connection: psycopg.Connection, shape: KeyShape, key_range: KeyRange, number: int) -> bool:
    """Return whether a key range contains a row, in the order in which the server sorts keys."""
    columns = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, shape.columns)))
    values = sql.SQL("({})").format(
        sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(kind)) for kind in shape.columns.values())
    )
    conditions = [(sql.SQL("="), shape.key(number))]
    conditions += [(sql.SQL(">="), key_range.lower)] if key_range.lower else []
    conditions += [(sql.SQL("<"), key_range.upper)] if key_range.upper else []
    where = sql.SQL(" AND ").join(sql.SQL(" ").join((columns, operator, values)) for operator, _ in conditions)
    parameters = [value for _, key in conditions for value in key]
    return bool(connection.execute(sql.SQL("SELECT 1 FROM passage WHERE {}").format(where), parameters).fetchall())


def rows_by_partition(
    project: Project, connection: psycopg.Connection, shape: KeyShape, numbers: range
) -> dict[str, int]:
    """Return how many of these rows each partition contains, for partitions that contain any."""
    ranges = {key: parse_partition_key(key, TableName("public", "passage")) for key in project.partitions}
    counts = {
        key: sum(contains(connection, shape, key_range, number) for number in numbers)
        for key, key_range in ranges.items()
    }
    assert sum(counts.values()) == len(numbers)
    return {key: count for key, count in counts.items() if count}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exactly_the_touched_partitions_are_materialized(
    url: str, connection: psycopg.Connection, build_project: BuildProject, shape: KeyShape
) -> None:
    create_table(connection, shape, [""] * 60)
    project = build_project(url, partitions={"target_rows": 6})
    project.prepare()
    assert len(project.partitions) >= 8
    insert_rows(connection, shape, {number: f"text {number}" for number in range(100, 105)})
    project.run("follow")
    assert project.rows_embedded() == rows_by_partition(project, connection, shape, range(100, 105))
    found = vectors(connection, shape)
    for number in range(100, 105):
        vector = found[shape.key(number)]
        assert vector is not None
        assert (vector == stub_vector(f"text {number}")).all()


def test_nothing_is_materialized_without_pending_rows(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, texts=[""] * 20)
    project = build_project(url, partitions={"target_rows": 5})
    project.prepare()
    result = project.run("follow")
    assert project.materialized() == {}
    assert result.success


def test_table_is_prepared_if_it_is_not(url: str, connection: psycopg.Connection, build_project: BuildProject) -> None:
    create_table(connection, COMPOSITE_SHAPE, [f"text {number}" for number in range(30)])
    project = build_project(url, partitions={"target_rows": 5})
    project.run("follow")
    assert set(project.materialized()) == set(project.partitions)
    assert sum(project.rows_embedded().values()) == 30


def test_small_table_is_one_partition(url: str, connection: psycopg.Connection, build_project: BuildProject) -> None:
    create_table(connection, texts=["a", "b"])
    project = build_project(url)
    project.run("follow")
    assert project.rows_embedded() == {"public:passage::min::max": 2}


def test_rows_inserted_during_a_round_are_embedded_in_another(
    url: str, connection: psycopg.Connection, calls: CallLog, build_project: BuildProject
) -> None:
    create_table(connection, texts=["a"])
    # With each vector that is written, a trigger of the application inserts one row, until there are four.
    connection.execute(
        "CREATE FUNCTION more() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        "IF (SELECT count(*) FROM passage) < 4 THEN "
        "INSERT INTO passage (id, passage) VALUES ((NEW).id - 1, 'next to ' || (NEW).passage); END IF; "
        "RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER more BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION more()")
    build_project(url).run("follow")
    assert len(calls.inputs()) == 4
    assert all(vector is not None for vector in vectors(connection).values())


def test_no_round_starts_after_the_time_limit(
    url: str, connection: psycopg.Connection, calls: CallLog, build_project: BuildProject
) -> None:
    create_table(connection, texts=["a"])
    connection.execute(
        "CREATE FUNCTION more() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO passage (id, passage) VALUES ((NEW).id - 1, 'next to ' || (NEW).passage); RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER more BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION more()")
    project = build_project(url)
    project.run("follow", {"ops": {project.names.op("follow"): {"config": {"minutes": 1e-9}}}})
    assert calls.inputs() == ["a"]


def test_edited_rows_are_embedded_if_the_run_has_a_time_since_which_they_were_edited(
    url: str, connection: psycopg.Connection, calls: CallLog, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ DEFAULT now()")
    project = build_project(url, updated_at="updated", partitions={"target_rows": 1})
    project.run("follow")
    set_text(connection, INT_SHAPE, 1, "edited")
    calls.clear()
    project.run("follow")
    assert calls.inputs() == []
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    project.run("follow", {"ops": {project.names.op("follow"): {"config": {"edited_since": since}}}})
    assert calls.inputs() == ["edited"]


def test_rejected_row_is_counted_and_the_others_are_embedded(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, texts=["a", "REJECTED", "c"])
    project = build_project(url, model="stub_failing")
    project.run("follow")
    (metadata,) = project.materialized().values()
    assert (metadata["rows_embedded"], metadata["rows_failed"]) == (2, 1)


def test_unavailable_model_fails_the_run_and_no_row(
    url: str, connection: psycopg.Connection, calls: CallLog, build_project: BuildProject
) -> None:
    create_table(connection, texts=["a"])
    calls.path.with_suffix(".unavailable").touch()
    project = build_project(url, model="stub_failing")
    with pytest.raises(dg.Failure, match="overloaded"):
        project.run("follow")
    assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)
    assert project.materialized() == {}


def test_partitions_touched_before_the_model_became_unavailable_are_materialized(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "UNAVAILABLE", "d"])
    project = build_project(url, model="stub_failing", batch_size=1, partitions={"target_rows": 1})
    project.prepare()
    with pytest.raises(dg.Failure, match="overloaded"):
        project.run("follow")
    touched = rows_by_partition(project, connection, INT_SHAPE, range(2))
    assert project.rows_embedded() == touched
    assert sum(touched.values()) == 2
    set_text(connection, INT_SHAPE, 2, "c")
    project.run("follow")
    assert set(project.rows_embedded()) == set(rows_by_partition(project, connection, INT_SHAPE, range(4)))


def test_job_runs_in_one_process_and_is_tagged_with_its_column(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, UUID_SHAPE)
    project = build_project(url)
    job = project.definitions.resolve_job_def("passage_vector__follow")
    assert job.executor_def.name == "in_process"
    assert job.run_tags["crdbvec/vector_column"] == "public__passage__passage_vector"


def test_rows_that_arrive_while_a_row_is_locked_are_embedded(
    url: str, connection: psycopg.Connection, build_project: BuildProject, calls: CallLog
) -> None:
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(20)])
    project = build_project(url)
    project.prepare()
    results: list[dg.ExecuteInProcessResult] = []
    with psycopg.connect(url) as application:
        application.execute("SELECT 1 FROM passage WHERE passage = 'text 7' FOR UPDATE")
        run = threading.Thread(target=lambda: results.append(project.run("follow")))
        run.start()
        wait_until(lambda: missing(connection) == {"text 7"})
        insert_rows(connection, INT_SHAPE, {20: "new"})
        wait_until(lambda: "new" not in missing(connection))
        assert run.is_alive()
    run.join(60)
    assert [result.success for result in results] == [True]
    assert missing(connection) == set()
    assert calls.inputs().count("text 7") == 1


def test_materializations_have_the_same_metadata_in_every_kind_of_run(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    project = build_project(url)
    project.prepare()
    (partition,) = project.partitions
    keys = {}
    project.run("encode_in_process", partition_key=partition)
    keys["encode"] = set(project.materialized()[partition])
    insert_rows(connection, INT_SHAPE, {3: "d"})
    project.run("follow")
    keys["follow"] = set(project.materialized()[partition])
    assert project.materialized()[partition]["dagster/partition_row_count"] == 4
    project.run("maintain")
    keys["maintain"] = set(project.materialized()[partition])
    assert keys["follow"] == keys["encode"] == keys["maintain"]
    assert {"dagster/column_schema", "rows_pending", "server"} <= keys["follow"]


def test_checks_have_results_of_all_partitions_after_a_follow_run(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "REJECTED", "d"])
    project = build_project(url, model="stub_failing", partitions={"target_rows": 2})
    project.prepare()
    for partition in project.partitions:
        project.run("encode_in_process", partition_key=partition)
    before = {name: latest(project, name) for name in CHECKS}
    insert_rows(connection, INT_SHAPE, {4: "e"})
    project.run("follow")
    (record,) = project.instance.fetch_materializations(project.asset, limit=1).records
    for name in CHECKS:
        (check,) = project.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(project.asset, name), limit=1
        )
        # Dagster shows no evaluation that is older than the latest materialization.
        assert check.create_timestamp > record.timestamp, name
        last, now = before[name], latest(project, name)
        assert last is not None
        assert now is not None
        assert now.passed == last.passed, name
    # The partition with the rejected row was not touched, and its result still counts.
    assert before["row_errors"] is not None
    assert not before["row_errors"].passed


def missing(connection: psycopg.Connection) -> set[str]:
    """Return the texts without a vector."""
    return {text for (text,) in connection.execute("SELECT passage FROM passage WHERE passage_vector IS NULL")}
