"""A wrapper that raises what is no usual error, in the process of the run and in its worker processes."""

import dagster as dg
import psycopg
import pytest

from tests.orchestration.project import BuildProject, Project
from tests.support.tables import create_table

CANARY = "canary 7f3a"
RAISED = ("MemoryError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "Panic", "AssertionError")
# Exceptions that are about an input, so that its row is recorded; the others end the run.
OF_A_ROW = ("Panic", "AssertionError")


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crdbvec_pipelines.orchestration.assets.vector_column._RETRIES", dg.RetryPolicy(max_retries=0))


def failure(project: Project) -> str | None:
    """Run the only partition, and return the description of the failure of its step; None if it succeeded."""
    result = project.run("encode", raise_on_error=False, partition_key=project.partitions[0])
    failed = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
    assert bool(failed) == (not result.success)
    if not failed:
        return None
    data = failed[0].step_failure_data
    assert data.user_failure_data is not None
    return data.user_failure_data.description


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
@pytest.mark.parametrize("raised", RAISED)
def test_run_ends_with_one_sentence_and_no_row_is_recorded(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    raised: str,
    executor: str,
) -> None:
    monkeypatch.setenv("CRDBVEC_TEST_RAISES", raised)
    create_table(connection, texts=[*(f"text {number}" for number in range(20)), f"RAISE {CANARY}"])
    project = build_project(url, model="stub_raising", executor=executor, workers=2, batch_size=5)
    project.prepare()
    description = failure(project)
    recorded = connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone()
    if raised in OF_A_ROW:
        assert (description, recorded) == (None, (1,))
    else:
        assert description is not None
        assert len(description.splitlines()) == 1
        assert ("out of memory" if raised == "MemoryError" else "tried to end the process") in description
        assert recorded == (0,)
    captured = capfd.readouterr()
    assert CANARY not in captured.out + captured.err + (description or "")
