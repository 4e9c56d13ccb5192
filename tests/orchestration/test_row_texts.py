"""No text of a row and no password reaches Dagster's event log or the output of a run.

Not in a message, a cause or a traceback, and in no form: plain, in a URL, in JSON, in hexadecimal digits.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import psycopg
import pytest
from dagster._serdes import serialize_value

from tests.orchestration.project import BuildProject, Project
from tests.support.canaries import PASSWORD, shown_in, with_password
from tests.support.models import CallLog
from tests.support.tables import create_table

CANARY = 'canary "/@ü 73'
RAISES = (
    "CREATE FUNCTION interfere() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN RAISE EXCEPTION 'not %', NEW.passage USING ERRCODE = '{state}', DETAIL = NEW.passage; END$$"
)
TRIGGER = "CREATE TRIGGER interfere BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION interfere()"

pytestmark = pytest.mark.usefixtures("calls")


@pytest.fixture(autouse=True)
def _few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failed statement and a failed step be tried again without waiting."""
    for longest in ("MAX_RETRY_WAIT_SECONDS", "MAX_OPENING_WAIT_SECONDS"):
        monkeypatch.setattr(f"crdbvec_pipelines.database.retry.{longest}", 0.01)
    monkeypatch.setattr("crdbvec_pipelines.orchestration.assets.vector_column._RETRIES", dg.RetryPolicy(max_retries=1))


@pytest.fixture
def build_project(build_project: BuildProject, monkeypatch: pytest.MonkeyPatch) -> BuildProject:
    """The builder of projects whose URL has a password, in an environment variable."""

    def build(
        url: str | Mapping[str, str],
        *others: Mapping[str, object],
        asset_prefix: Sequence[str] = (),
        **entry: object,
    ) -> Project:
        monkeypatch.setenv("CRDBVEC_URL", with_password(str(url)))
        return build_project({"env": "CRDBVEC_URL"}, *others, asset_prefix=asset_prefix, **entry)

    return build


def stored_texts(project: Project) -> Iterator[str]:
    """Yield every event of every run as Dagster stores it."""
    for run in project.instance.get_runs():
        for entry in project.instance.all_logs(run.run_id):
            yield serialize_value(entry)


def run_all(project: Project) -> None:
    """Run the jobs that write vectors; they may fail."""
    for action in ("follow", "encode_in_process", "maintain"):
        key = project.partitions[0] if action == "encode_in_process" else None
        project.run(action, raise_on_error=False, partition_key=key)


def assert_no_text(project: Project, output: str) -> None:
    texts = [*stored_texts(project), output]
    assert len(texts) > 10
    assert [text for text in texts if shown_in(text, CANARY, PASSWORD)] == []


@pytest.mark.parametrize("state", ["P0001", "42501", "23514", "22023"])
def test_error_of_a_trigger_that_quotes_the_row(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    capfd: pytest.CaptureFixture[str],
    state: str,
) -> None:
    create_table(connection, texts=[CANARY, "other"])
    project = build_project(url, model="stub_hash")
    project.prepare()
    connection.execute(RAISES.replace("{state}", state).encode())
    connection.execute(TRIGGER)
    run_all(project)
    captured = capfd.readouterr()
    assert_no_text(project, captured.out + captured.err)


def test_constraint_whose_detail_is_the_row(
    url: str, connection: psycopg.Connection, build_project: BuildProject, capfd: pytest.CaptureFixture[str]
) -> None:
    create_table(connection, texts=[CANARY, "other"])
    project = build_project(url, model="stub_hash")
    project.prepare()
    connection.execute("ALTER TABLE passage ADD CHECK (passage_vector IS NULL)")
    run_all(project)
    captured = capfd.readouterr()
    assert_no_text(project, captured.out + captured.err)


@pytest.mark.parametrize("word", ["REJECTED", "TOO_LONG"])
def test_error_of_a_wrapper_that_quotes_the_row(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    capfd: pytest.CaptureFixture[str],
    calls: CallLog,
    word: str,
) -> None:
    create_table(connection, texts=[f"{word} {CANARY} {number}" for number in range(80)])
    project = build_project(url, model="stub_failing")
    project.prepare()
    run_all(project)
    captured = capfd.readouterr()
    assert_no_text(project, captured.out + captured.err)


def test_unexpected_error_is_stored_without_its_text(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception that no layer translates, such as one of a defect, can quote a row as well."""
    create_table(connection, texts=["a"])
    project = build_project(url, model="stub_hash")
    project.prepare()

    def fail(*_: object, **__: object) -> None:
        raise KeyError(CANARY) from ValueError(CANARY)

    monkeypatch.setattr("crdbvec_pipelines.database.rows.vector_rows.VectorRows.write", fail)
    run_all(project)
    captured = capfd.readouterr()
    assert_no_text(project, captured.out + captured.err)
    assert any("An unexpected KeyError ended the work" in text for text in stored_texts(project))


@pytest.mark.parametrize("raised", ["ValueError", "OSError", "MemoryError", "Panic"])
@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_exception_of_a_wrapper_that_quotes_the_row(
    url: str,
    connection: psycopg.Connection,
    build_project: BuildProject,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: str,
    executor: str,
) -> None:
    monkeypatch.setenv("CRDBVEC_TEST_RAISES", raised)
    create_table(connection, texts=[f"RAISE {CANARY}"])
    project = build_project(url, model="stub_raising", executor=executor, workers=2)
    project.prepare()
    project.run("encode", raise_on_error=False, partition_key=project.partitions[0])
    captured = capfd.readouterr()
    assert_no_text(project, captured.out + captured.err)


@pytest.mark.parametrize("wrong", ["?sslmode=never", "?nothing=1", "?port=x", "?port=1", "?host=none.invalid"])
def test_password_of_a_url_that_cannot_be_used(
    instance: dg.DagsterInstance, build_project: BuildProject, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    project = build_project(f"postgresql://me@127.0.0.1/db{wrong}", model="stub_hash")
    project.add_partitions("public:passage::min::max")
    run_all(project)
    captured = capfd.readouterr()
    assert_no_text(project, captured.out + captured.err)
    assert all(not run.is_success for run in instance.get_runs())


def test_failure_has_the_message_of_the_error_and_its_traceback(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, texts=["a"])
    project = build_project(url, model="stub_hash")
    project.prepare()
    connection.execute("DROP TABLE passage")
    result = project.run("follow", raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
    error = failure.step_failure_data.error
    assert error is not None
    assert "There is no table public.passage" in failure.step_failure_data.user_failure_data.description  # type: ignore[union-attr,operator]
    assert any("prepare_column" in frame for frame in error.stack)
