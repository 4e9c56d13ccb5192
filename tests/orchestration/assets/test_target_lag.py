"""The target lag: measured by ticks and checks, red when it is missed, and what the sensor chooses by it."""

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.sensors.decision import TickState, decide
from tests.orchestration.evaluations import evaluate, latest
from tests.orchestration.project import BuildProject, Project
from tests.support.tables import UUID_SHAPE, column, create_table, insert_rows

HOUR = 3_600


@pytest.fixture
def project(url: str, connection: psycopg.Connection, build_project: BuildProject) -> Project:
    """A prepared table whose oldest pending row is two hours old, with a target lag of one hour."""
    create_table(connection, UUID_SHAPE, ["old", "older", "new", ""])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ NOT NULL DEFAULT now()")
    connection.execute("UPDATE passage SET updated = now() - interval '2 hours' WHERE passage = 'older'")
    connection.execute("UPDATE passage SET updated = now() - interval '9 hours' WHERE passage = ''")
    built = build_project(url, model="stub_hash", updated_at="updated", target_lag="1h")
    built.prepare()
    return built


def test_a_missed_target_lag_turns_the_check_red_until_the_rows_are_embedded(
    project: Project, connection: psycopg.Connection
) -> None:
    (missed,) = evaluate(project, "target_lag").values()
    assert not missed.passed
    assert missed.severity == dg.AssetCheckSeverity.ERROR
    assert missed.metadata["target_lag_seconds"] == HOUR
    assert 2 * HOUR <= missed.metadata["lag_seconds"] < 9 * HOUR
    tick = project.tick()
    assert tick.jobs == ["passage_vector__follow"]
    project.run_requests(tick)
    kept = latest(project, "target_lag")
    assert kept is not None
    assert kept.passed
    assert kept.metadata["lag_seconds"] == 0
    # The two measurements of two hours, one by the check and one by the tick, are in the history.
    assert kept.metadata["p99_seconds"] >= 2 * HOUR
    assert kept.metadata["measurements"] >= 3
    # An edited row counts from its update on.
    connection.execute(
        "UPDATE passage SET passage = 'edited', updated = now() - interval '3 hours' WHERE passage = 'new'"
    )
    (edited,) = evaluate(project, "target_lag").values()
    assert edited.metadata["lag_seconds"] >= 3 * HOUR


def test_a_tick_reports_the_check_when_its_result_changes(project: Project, connection: psycopg.Connection) -> None:
    sensor = project.definitions.resolve_sensor_def(project.names.job("follow_sensor"))

    def tick(cursor: str | None) -> tuple[str | None, list[bool], list[dict[str, object]]]:
        with dg.build_sensor_context(
            instance=project.instance,
            cursor=cursor,
            definitions=project.definitions,
            resources={"cockroach_for_ticks": (project.definitions.resources or {})["cockroach_for_ticks"]},
        ) as context:
            data = sensor.evaluate_tick(context)
        results = [event.passed for event in data.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
        observed: list[dict[str, object]] = [
            {name: value.value for name, value in event.metadata.items()}
            for event in data.asset_events
            if isinstance(event, dg.AssetObservation)
        ]
        return data.cursor, results, observed

    cursor, results, observed = tick(None)
    assert results == [False]
    assert observed[0].keys() == {"rows_pending", "lag_seconds", "lag_p50_seconds", "lag_p99_seconds"}
    cursor, results, _ = tick(cursor)
    assert results == []
    project.run("follow")
    cursor, results, _ = tick(cursor)
    assert results == [True]
    insert_rows(connection, UUID_SHAPE, {9: "new"})
    assert tick(cursor)[1] == []


@pytest.mark.parametrize(
    ("pending", "lag", "rate", "action"),
    [
        # In time: 3,000 rows in 300 s, of which 300 are left.
        (3_000, 0, 10, "follow"),
        (3_001, 0, 10, "encode"),
        (3_000, 1, 10, "encode"),
        # Partition runs would not start earlier than the follow job ends.
        (150, 5_000, 10, "follow"),
        (151, 5_000, 10, "encode"),
        # Without a rate, the size of the backlog decides.
        (100, 5_000, None, "follow"),
        (101, 0, None, "encode"),
    ],
)
def test_the_sensor_chooses_what_keeps_the_target_lag(
    pending: int, lag: float, rate: float | None, action: str
) -> None:
    state = TickState(
        "t",
        is_ready=True,
        pending=pending,
        small_backlog=100,
        lag_seconds=lag,
        target_lag_seconds=300,
        rows_per_second=rate,
    )
    assert decide(state).action == action


@pytest.mark.parametrize("values", [{"target_lag": "5 minutes", "updated_at": "u"}, {"target_lag": "5m"}], ids=str)
def test_an_invalid_target_lag_is_rejected(values: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"target_lag.*(such as 90s, 5m|updated_at, which is missing)"):
        column(**values)
