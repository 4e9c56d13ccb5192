"""A run over many partitions: each is materialized as soon as it is complete, and a green partition is complete."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import claims
from crdbvec_pipelines.database.rows.claims import RangeClaim
from crdbvec_pipelines.encoding.registry import load_registry
from crdbvec_pipelines.keyspace import KeyRange, parse_partition_key
from crdbvec_pipelines.orchestration.assets import vector_column
from crdbvec_pipelines.refresh import options
from tests.orchestration.project import BuildProject, Project
from tests.support.models import CallLog
from tests.support.tables import INT_SHAPE, create_table, insert_rows, vectors
from tests.support.waiting import wait_until

CHECKS = ("coverage", "drift", "vector_health", "row_errors")
ROWS = 60


@pytest.fixture
def project(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    calls: CallLog,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    """Sixty pending rows in six partitions; a failed step is retried once, soon."""
    monkeypatch.setattr(vector_column, "_RETRIES", dg.RetryPolicy(max_retries=1, delay=0.1))
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(ROWS)])
    project = build_project(url, partitions={"target_rows": 10}, model="stub_failing", batch_size=4)
    project.prepare()
    assert len(project.partitions) == 6
    return project


def run_partitions(project: Project, partitions: Sequence[str], **options: Any) -> dg.ExecuteInProcessResult:
    """Run a range of partitions in one run, as a backfill does."""
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={project.asset})
    tags = {
        "dagster/asset_partition_range_start": partitions[0],
        "dagster/asset_partition_range_end": partitions[-1],
    }
    return job.execute_in_process(instance=project.instance, tags=tags, raise_on_error=False, **options)


def evaluations(project: Project, check: str) -> dict[str | None, bool]:
    """Return the latest result of a check by partition; that of all partitions together is under None."""
    key = dg.AssetCheckKey(project.asset, check)
    history = project.instance.event_log_storage.get_asset_check_execution_history(key, limit=1_000)
    found: dict[str | None, bool] = {}
    for record in reversed(history):
        if record.status.value in ("SUCCEEDED", "FAILED"):
            found[record.partition] = record.status.value == "SUCCEEDED"
    return found


def pending(project: Project, connection: psycopg.Connection) -> dict[str, int]:
    """Return the rows without a vector by partition."""
    found = {}
    for key in project.partitions:
        part = parse_partition_key(key, project.spec.table)
        row = connection.execute(
            "SELECT count(*) FROM passage WHERE passage_vector IS NULL AND id >= %s AND id < %s",
            (part.lower[0] if part.lower else -(2**62), part.upper[0] if part.upper else 2**62),
        ).fetchone()
        assert row is not None
        found[key] = row[0]
    return found


def test_one_run_materializes_each_partition_with_its_own_numbers(
    project: Project, connection: psycopg.Connection, calls: CallLog
) -> None:
    result = run_partitions(project, project.partitions)
    assert result.success
    assert project.rows_embedded() == dict.fromkeys(project.partitions, 10)
    metadata = project.materialized()[project.partitions[2]]
    assert (metadata["rows_pending"], metadata["rows_arrived_meanwhile"]) == (0, 0)
    assert metadata["dagster/partition_row_count"] == 10
    assert metadata["server"].startswith(("PostgreSQL ", "CockroachDB "))
    assert sorted(calls.inputs()) == sorted(f"text {number}" for number in range(ROWS))
    assert all(vector is not None for vector in vectors(connection).values())
    events = [event for event in result.all_events if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION]
    assert sorted(str(event.partition) for event in events) == sorted(project.partitions)


def test_checks_have_a_result_for_each_partition_and_for_all_together(project: Project) -> None:
    run_partitions(project, project.partitions)
    for check in CHECKS:
        assert evaluations(project, check) == dict.fromkeys([*project.partitions, None], True)
        key = dg.AssetCheckKey(project.asset, check)
        latest = project.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert latest.partition is None


def test_a_failing_partition_keeps_the_check_failing_after_later_runs(
    project: Project, connection: psycopg.Connection
) -> None:
    first, *others = project.partitions
    connection.execute("UPDATE passage SET passage = 'REJECTED' WHERE id = (SELECT min(id) FROM passage)")
    run_partitions(project, [first])
    assert evaluations(project, "row_errors") == {first: False, None: False}
    assert evaluations(project, "coverage") == {first: False, None: False}
    run_partitions(project, others)
    expected: dict[str | None, bool] = {first: False, None: False}
    assert evaluations(project, "row_errors") == expected | dict.fromkeys(others, True)
    connection.execute("UPDATE passage SET passage = 'good' WHERE passage = 'REJECTED'")
    run_partitions(project, [first])
    assert evaluations(project, "row_errors") == dict.fromkeys([*project.partitions, None], True)


def test_a_failed_run_keeps_the_partitions_that_it_completed(
    project: Project, connection: psycopg.Connection, calls: CallLog
) -> None:
    connection.execute(
        "UPDATE passage SET passage = 'UNAVAILABLE' WHERE id = (SELECT id FROM passage ORDER BY id OFFSET 45 LIMIT 1)"
    )
    config = {"ops": {"__".join(project.names.asset): {"config": {"workers": 1}}}}
    result = run_partitions(project, project.partitions, run_config=config)
    assert not result.success
    left = pending(project, connection)
    done = set(project.materialized())
    assert set(project.partitions[:3]) <= done
    # The second attempt of the step did not materialize them again. Dagster returns no events of a failed step.
    logged = project.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert len(logged) == len(done)
    assert all(left[key] == 0 for key in done)
    encoded = len(calls.inputs())
    connection.execute("UPDATE passage SET passage = 'good' WHERE passage = 'UNAVAILABLE'")
    assert run_partitions(project, project.partitions).success
    assert set(project.materialized()) == set(project.partitions)
    # Nothing is encoded again but the batches that were in progress.
    assert len(calls.inputs()) <= ROWS + 8
    assert encoded < len(calls.inputs())


@dataclass(frozen=True)
class RepairingPolicy:
    """A retry policy that makes a text of the table valid before the step is attempted again."""

    connection: psycopg.Connection
    max_retries: int = 3

    def calculate_delay(self, attempt: int) -> float:
        self.connection.execute(
            "UPDATE passage SET passage = 'good' WHERE id = (SELECT min(id) FROM passage WHERE passage = 'UNAVAILABLE')"
        )
        return 0.0


def observations(project: Project, run_id: str) -> int:
    return len(project.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION))


@pytest.mark.parametrize("offsets", [(45,), (45, 48)], ids=["two attempts", "three attempts"])
def test_rows_are_counted_in_all_attempts_of_the_step(
    project: Project, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, offsets: Sequence[int]
) -> None:
    monkeypatch.setattr(vector_column, "_RETRIES", RepairingPolicy(connection))
    query = (
        "UPDATE passage SET passage = 'UNAVAILABLE' WHERE id = (SELECT id FROM passage ORDER BY id OFFSET %s LIMIT 1)"
    )
    for offset in offsets:
        connection.execute(query, (offset,))
    result = run_partitions(project, project.partitions)
    assert result.success
    retries = project.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert len(retries) == len(offsets)
    assert project.rows_embedded() == dict.fromkeys(project.partitions, 10)
    assert observations(project, result.run_id) == len(offsets)


def test_an_attempt_without_retry_logs_no_numbers_for_another(project: Project) -> None:
    result = run_partitions(project, project.partitions)
    assert observations(project, result.run_id) == 0


def test_rows_embedded_before_and_after_the_wait_for_another_process_are_counted(
    project: Project, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = project.partitions[2]
    part = parse_partition_key(third, project.spec.table)
    row = connection.execute("SELECT id FROM passage ORDER BY id OFFSET 25 LIMIT 1").fetchone()
    assert row is not None
    with Database(url) as database:
        column = bind_column(database, project.spec, load_registry(project.config).load(project.spec.model))
        with RangeClaim(column, KeyRange(row, part.upper)) as claim:
            claim.acquire()
            results: list[dg.ExecuteInProcessResult] = []
            run = threading.Thread(target=lambda: results.append(run_partitions(project, project.partitions)))
            run.start()
            wait_until(lambda: pending(project, connection) == {key: 5 * (key == third) for key in project.partitions})
        run.join(60)
    assert [result.success for result in results] == [True]
    assert project.rows_embedded() == dict.fromkeys(project.partitions, 10)


def test_a_range_that_another_process_has_claimed_is_completed_after_it(
    project: Project, url: str, connection: psycopg.Connection, calls: CallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_MAX_AGE_SECONDS", 0.0)
    third = project.partitions[2]
    with Database(url) as database:
        column = bind_column(database, project.spec, load_registry(project.config).load(project.spec.model))
        with RangeClaim(column, parse_partition_key(third, project.spec.table)) as claim:
            claim.acquire()
            results: list[dg.ExecuteInProcessResult] = []
            run = threading.Thread(target=lambda: results.append(run_partitions(project, project.partitions)))
            run.start()
            others = set(project.partitions) - {third}
            wait_until(lambda: project.instance.get_materialized_partitions(project.asset) == others)
            assert pending(project, connection)[third] == 10
            assert run.is_alive()
        run.join(60)
    assert [result.success for result in results] == [True]
    assert set(project.materialized()) == set(project.partitions)
    assert len(calls.inputs()) == ROWS


def test_a_limit_on_batches_materializes_only_complete_partitions(
    project: Project, connection: psycopg.Connection
) -> None:
    config = {"ops": {"__".join(project.names.asset): {"config": {"num_batches": 4}}}}
    assert run_partitions(project, project.partitions, run_config=config).success
    left = pending(project, connection)
    assert sum(left.values()) == ROWS - 14
    assert set(project.materialized()) == {project.partitions[0]}


@pytest.mark.parametrize("rows", ["one", "all"])
def test_rows_that_do_not_settle(project: Project, connection: psycopg.Connection, rows: str) -> None:
    """One of them is recorded as failed; a partition without any current vector fails the run, which is not retried."""
    condition = "(NEW).passage = 'text 7'" if rows == "one" else "true"
    connection.execute(
        "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN IF {condition} THEN NEW.passage_vector := NULL; END IF; RETURN NEW; END$$"
    )
    connection.execute("CREATE TRIGGER discard BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION discard()")
    result = run_partitions(project, project.partitions)
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []
    assert connection.execute("SELECT count(*) > 0 FROM crdbvec_row_errors").fetchone() == (True,)
    if rows == "one":
        assert result.success
        assert len(project.materialized()) == len(project.partitions)
        assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (1,)
        return
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "are still pending in passage_vector although their vectors were written in two passes" in str(
        data.description
    )
    assert project.materialized() == {}


def test_a_run_reads_only_its_partitions_and_each_row_a_few_times(
    project: Project, connection: psycopg.Connection
) -> None:
    def rows_read() -> int:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'passage'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    insert_rows(connection, INT_SHAPE, {number: f"text {number}" for number in range(ROWS, 20 * ROWS)})
    project.run("sync_partitions")
    assert len(project.partitions) > 100
    connection.execute("ANALYZE passage")
    before = rows_read()
    first = project.partitions[:5]
    assert run_partitions(project, first).success
    wait_until(lambda: rows_read() > before)
    # The rows of five partitions, not the 1,200 of the table.
    assert rows_read() - before <= 6 * 50 + 50
    assert run_partitions(project, project.partitions).success
    wait_until(lambda: rows_read() - before >= 20 * ROWS)
    assert rows_read() - before <= 7 * 20 * ROWS


def test_two_columns_of_one_table_do_not_wait_for_each_other(
    project: Project, url: str, connection: psycopg.Connection
) -> None:
    with Database(url) as database:
        model = load_registry(project.config).load(project.spec.model)
        other = project.spec.model_copy(update={"output": "other_vector"})
        with RangeClaim(bind_column(database, other, model), KeyRange()) as claim:
            claim.acquire()
            assert run_partitions(project, project.partitions).success


def test_a_partition_with_rows_that_stay_locked_fails_the_run_after_the_others(
    project: Project, url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "LOCK_WAIT_SECONDS", 0.2)
    third = project.partitions[2]
    with psycopg.connect(url) as application:
        application.execute("SELECT 1 FROM passage WHERE passage = 'text 25' FOR UPDATE")
        assert not run_partitions(project, project.partitions).success
    assert set(project.materialized()) == set(project.partitions) - {third}
    assert pending(project, connection) == {**dict.fromkeys(project.partitions, 0), third: 1}
    assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)
    assert run_partitions(project, project.partitions).success
    assert set(project.materialized()) == set(project.partitions)
