"""The vector column as an asset: materialized partitions, their metadata, lineage, workers, and failures."""

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.value_text import key_text
from tests.orchestration.project import UNUSED_URL, BuildProject, Project
from tests.support.models import CallLog
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, SHAPES, KeyShape, create_table, set_text, vectors

PLOTTED = {
    "rows_embedded",
    "rows_per_second",
    "rows_pending",
    "rows_failed",
    "seconds",
    "dagster/partition_row_count",
}
COUNTS = {
    "rows_read",
    "rows_stale",
    "rows_failed_recorded",
    "rows_deferred",
    "rows_blank",
    "rows_arrived_meanwhile",
    "rows_changed_meanwhile",
    "rows_truncated",
    "rows_unreadable",
    "rows_deduplicated",
    "rows_cleared",
    "tokens_encoded",
    "batches",
    "retries",
}
WHOLE = "public:passage::min::max"


def texts(count: int) -> list[str | None]:
    return [f"text {number}" for number in range(count)]


def embedded(connection: psycopg.Connection, shape: KeyShape = INT_SHAPE) -> int:
    return sum(vector is not None for vector in vectors(connection, shape).values())


def run_config(project: Project, **values: int) -> dict[str, object]:
    """Return the run configuration as a person enters it into the Launchpad."""
    return {"ops": {"__".join(project.names.asset): {"config": values}}}


def with_whole_table(project: Project) -> Project:
    """Return the project with one partition for the whole table, without a run that makes the partitions."""
    project.add_partitions(WHOLE)
    return project


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """Return the message of the only failed step, which must not have been retried."""
    assert not result.success
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_partitions_together_embed_every_row(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog, shape: KeyShape
) -> None:
    create_table(connection, shape, [*texts(120), None])
    project = build_project(url, partitions={"target_rows": 40})
    assert project.run("sync_partitions").success
    assert len(project.partitions) >= 3
    for key in project.partitions:
        assert project.run("encode_in_process", partition_key=key).success
    metadata = project.materialized()
    assert set(metadata) == set(project.partitions)
    assert sum(numbers["rows_embedded"] for numbers in metadata.values()) == 120
    assert sum(numbers["dagster/partition_row_count"] for numbers in metadata.values()) == 121
    assert sum(numbers["rows_blank"] for numbers in metadata.values()) == 1
    assert sorted(calls.inputs()) == sorted(str(text) for text in texts(120))
    assert embedded(connection, shape) == 120


def test_materialization_has_the_numbers_that_the_ui_plots(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[*texts(25), None])
    project = with_whole_table(build_project(url, batch_size=10))
    project.run("encode_in_process", partition_key=WHOLE)
    (numbers,) = project.materialized().values()
    (record,) = project.instance.fetch_materializations(project.asset, limit=1).records
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    plotted = (dg.IntMetadataValue, dg.FloatMetadataValue)
    assert {name for name, value in metadata.items() if isinstance(value, plotted)} == PLOTTED
    assert numbers["counts"].keys() == COUNTS
    assert (numbers["rows_embedded"], numbers["rows_pending"], numbers["batches"]) == (25, 0, 3)
    assert (numbers["dagster/partition_row_count"], numbers["rows_blank"]) == (26, 1)
    assert "| embedded | 25 |" in numbers["summary"]
    assert "| rows of the partition | 26 |" in numbers["summary"]
    columns = {column.name: column for column in numbers["dagster/column_schema"].columns}
    assert list(columns) == ["id", "passage", "passage_vector", "passage_vector_fingerprint"]
    assert [column.type.casefold() for column in columns.values()][1:] == ["text", "vector(8)", "text"]
    assert (columns["id"].description, columns["id"].constraints.nullable) == ("primary key", False)
    project.run("encode_in_process", partition_key=WHOLE)
    (numbers,) = project.materialized().values()
    assert (numbers["rows_embedded"], numbers["rows_pending"], numbers["rows_per_second"]) == (0, 0, 0)


def test_materialization_names_the_failed_rows_of_earlier_runs(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["a", "REJECTED"])
    project = with_whole_table(build_project(url, model="stub_failing"))
    for failed in (1, 0):
        project.run("encode_in_process", partition_key=WHOLE)
        (numbers,) = project.materialized().values()
        assert numbers["rows_failed"] == failed
        assert (numbers["rows_failed_recorded"], numbers["rows_deferred"]) == (1, 1)
        key = key_text(INT_SHAPE.key(1))
        assert (f"for example those with the keys `{key}`" in numbers["summary"]) == bool(failed)
        assert "REJECTED" not in numbers["summary"]


def test_table_that_accepts_no_vector_fails_the_run_without_a_retry(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(5))
    project = with_whole_table(build_project(url))
    connection.execute(
        "CREATE FUNCTION reject() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        "IF TG_OP = 'UPDATE' THEN RAISE EXCEPTION 'never'; END IF; RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER reject BEFORE UPDATE ON passage FOR EACH ROW EXECUTE FUNCTION reject()")
    message = failure_message(project.run("encode_in_process", partition_key=WHOLE, raise_on_error=False))
    assert message.startswith("The table public.passage accepts no vector in passage_vector")
    assert connection.execute("SELECT count(*) FROM crdbvec_row_errors").fetchone() == (0,)


def test_run_configuration_sets_size_and_number_of_batches(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(50))
    project = with_whole_table(build_project(url, batch_size=50))
    config = run_config(project, batch_size=7, num_batches=2, workers=2)
    assert project.run("encode_in_process", config, partition_key=WHOLE).success
    # The partition is not complete, so it is not materialized.
    assert project.materialized() == {}
    assert embedded(connection) == 14
    assert [len(batch) for batch in calls.batches()] == [7, 7]
    project.run("encode_in_process", partition_key=WHOLE)
    (numbers,) = project.materialized().values()
    assert (numbers["batches"], numbers["rows_embedded"], numbers["rows_pending"]) == (1, 36, 0)
    assert [len(batch) for batch in calls.batches()] == [7, 7, 36]


@pytest.mark.parametrize("values", [{"batch_size": 0}, {"workers": 65}, {"num_batches": 0}])
def test_invalid_run_configuration_is_rejected(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog, values: dict[str, int]
) -> None:
    create_table(connection, texts=texts(5))
    project = with_whole_table(build_project(url))
    with pytest.raises(dg.DagsterError) as caught:
        project.run("encode_in_process", run_config(project, **values), partition_key=WHOLE)
    assert f"The run config of public__passage__passage_vector is invalid: {next(iter(values))}: " in str(
        caught.value.__cause__
    )
    assert calls.batches() == []
    # Not even a run exists.
    assert project.instance.get_runs() == []


@pytest.mark.parametrize("executor", ["auto", "in_process", "multiprocess"])
def test_workers_encode_batches_in_this_process_or_in_others(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog, executor: str
) -> None:
    create_table(connection, COMPOSITE_SHAPE, texts(30))
    project = with_whole_table(build_project(url, workers=3, batch_size=10, executor=executor))
    asset = project.definitions.resolve_assets_def(project.asset)
    result = dg.materialize([asset], partition_key=WHOLE, instance=project.instance)
    assert len([event for event in result.get_step_success_events() if event.step_key]) == 1
    (numbers,) = project.materialized().values()
    assert (numbers["rows_embedded"], numbers["batches"]) == (30, 3)
    assert [len(batch) for batch in calls.batches()] == [10] * 3
    assert embedded(connection, COMPOSITE_SHAPE) == 30


def test_vector_of_a_removed_text_is_cleared_if_no_other_row_is_pending(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(3))
    project = with_whole_table(build_project(url))
    project.run("encode_in_process", partition_key=WHOLE)
    set_text(connection, INT_SHAPE, 1, None)
    project.run("encode_in_process", partition_key=WHOLE)
    (numbers,) = project.materialized().values()
    assert embedded(connection) == 2
    assert (numbers["rows_cleared"], numbers["rows_embedded"]) == (1, 0)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "added by hand",
            "'added by hand' is not a partition key of public.passage. Run the column's `sync_partitions` job",
        ),
        ("public:other::min::max", "'public:other::min::max' is not a partition key of public.passage. Run"),
        ("public:passage::i1:i2::max", "A key range with 2 value(s) per bound does not match public.passage, whose "),
    ],
)
def test_partition_that_is_not_a_key_range_of_the_table_fails_without_retry(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog, key: str, message: str
) -> None:
    create_table(connection, texts=texts(3))
    project = build_project(url)
    project.add_partitions(key)
    result = project.run("encode_in_process", partition_key=key, raise_on_error=False)
    assert message in failure_message(result)
    assert project.materialized() == {}
    assert calls.batches() == []


def test_missing_input_column_fails_without_retry(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(3))
    project = with_whole_table(build_project(url, input="pasage"))
    result = project.run("encode_in_process", partition_key=WHOLE, raise_on_error=False)
    assert "has no column pasage to embed; did you mean passage?" in failure_message(result)


@pytest.mark.parametrize("prefix", [[], ["search"]])
def test_source_table_is_upstream_of_its_vector_column(build_project: BuildProject, prefix: list[str]) -> None:
    project = build_project(UNUSED_URL, asset_prefix=prefix)
    graph = project.definitions.resolve_asset_graph()
    source = dg.AssetKey([*prefix, "public", "passage"])
    node = graph.get(dg.AssetKey([*prefix, "public", "passage", "passage_vector"]))
    assert node.parent_keys == {source}
    assert graph.get(source).is_external
    lineage = node.metadata["dagster/column_lineage"]
    assert isinstance(lineage, dg.TableColumnLineage)
    (dependency,) = lineage.deps_by_column["passage_vector"]
    assert (dependency.asset_key, dependency.column_name) == (source, "passage")


def test_no_event_contains_a_password(build_project: BuildProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crdbvec_pipelines.database.retry.MAX_OPENING_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("SOME_URL", "postgresql://me:hidden-password@127.0.0.1:1/db")
    project = build_project({"env": "SOME_URL"})
    result = project.run("sync_partitions", raise_on_error=False)
    assert not result.success
    events = "".join(str(entry) for entry in (*result.all_events, *project.instance.all_logs(result.run_id)))
    assert "could not be reached" in events
    assert "hidden-password" not in events


def test_no_event_contains_the_text_of_a_rejected_row(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["hidden-text", "other text"])
    project = with_whole_table(build_project(url))
    project.run("encode_in_process", run_config(project, num_batches=1, batch_size=1), partition_key=WHOLE)
    connection.execute("UPDATE passage SET passage_vector = NULL")
    connection.execute("ALTER TABLE passage ADD CHECK (passage <> 'hidden-text' OR passage_vector IS NULL)")
    result = project.run("encode_in_process", partition_key=WHOLE, raise_on_error=False)
    (numbers,) = project.materialized().values()
    assert (numbers["rows_failed"], numbers["rows_embedded"]) == (1, 1)
    events = "".join(str(entry) for entry in (*result.all_events, *project.instance.all_logs(result.run_id)))
    assert "hidden-text" not in events
