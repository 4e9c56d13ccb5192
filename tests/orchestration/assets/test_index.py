"""The vector index as an asset downstream of its vector column, and its two checks."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from PIL import Image

from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.telemetry.textfile import DIRECTORY_VARIABLE
from tests.orchestration.project import UNUSED_URL, BuildProject, Project
from tests.support.servers import Server
from tests.support.tables import create_table
from tests.support.vectors import preferring_indexes
from tests.support.work import embed
from tests.telemetry.test_metrics import samples

KEY = dg.AssetKey(["public", "passage", "passage_vector_index"])
MODEL = "stub_hash"
# From this size on, PostgreSQL prefers the index to a sequential scan.
LARGE_TABLE_ROWS = 4_000
# The plot is stored in Dagster's event log with each evaluation.
MAX_PLOT_CHARACTERS = 50_000


def fill(url: str, rows: int, **options: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection, Database(url) as database:
        create_table(connection, texts=[f"text {number}" for number in range(rows)])
        spec = vector_column(table="passage", input="passage", output="passage_vector", model=MODEL)
        embed(database, spec, batch_size=1_000, **options)
        connection.execute("ANALYZE passage")


@pytest.fixture(scope="module")
def large_table(server: Server) -> Iterator[str]:
    """The URL of a database with a large table, whose rows are embedded."""
    with server.new_database() as url:
        fill(url, LARGE_TABLE_ROWS)
        yield url


@pytest.fixture
def large(large_table: str) -> str:
    """The URL of that database, without an index from another test."""
    drop(large_table)
    return large_table


BuildIndexed = Callable[..., Project]


@pytest.fixture
def build_indexed(build_project: BuildProject) -> BuildIndexed:
    """The builder of projects whose entry has an `index` with these values."""

    def build(url: str, **index: object) -> Project:
        return build_project(url, model=MODEL, index=index)

    return build


def materialize(project: Project, *, with_checks: bool = False, **config: object) -> dg.ExecuteInProcessResult:
    """Materialize the index, with or without its checks."""
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={KEY}, asset_check_selection=None if with_checks else set()
    )
    run_config = {"ops": {KEY.to_python_identifier(): {"config": config}}} if config else None
    return job.execute_in_process(run_config=run_config, instance=project.instance, raise_on_error=False)


def evaluate(project: Project, name: str) -> dg.AssetCheckEvaluation:
    """Evaluate one check without a materialization."""
    key = dg.AssetCheckKey(KEY, name)
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={key}
    )
    result = job.execute_in_process(instance=project.instance)
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def asset_metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(KEY.to_python_identifier())
    return {name: value.value for name, value in event.metadata.items()}


def check_metadata(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in evaluation.metadata.items()}


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def drop(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP INDEX IF EXISTS passage_passage_vector_index")


def index_names(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%vector_index'").fetchall()
    return [name for (name,) in rows]


def test_index_is_downstream_of_its_vector_column(build_indexed: BuildIndexed) -> None:
    project = build_indexed(UNUSED_URL)
    graph = project.definitions.resolve_asset_graph()
    assert graph.get(KEY).parent_keys == {project.asset}
    assert {check.name for check in graph.asset_check_keys if check.asset_key == KEY} == {"index_used", "recall_at_k"}
    assert graph.get(KEY).group_name == graph.get(project.asset).group_name


def test_entry_without_index_has_no_index_asset(build_project: BuildProject) -> None:
    assert not build_project(UNUSED_URL, model=MODEL).definitions.resolve_asset_graph().has(KEY)


def test_index_is_built_once_and_its_checks_pass(large: str, build_indexed: BuildIndexed) -> None:
    project = build_indexed(large, metric="cosine")
    first, second = materialize(project, with_checks=True), materialize(project)
    assert first.success
    assert second.success
    facts = asset_metadata(first)
    assert (facts["built"], asset_metadata(second)["built"]) == (1, 0)
    assert facts["index"] == "passage_passage_vector_index"
    assert (facts["metric"], facts["prefix"], facts["vectors"]) == ("cosine", "", LARGE_TABLE_ROWS)
    assert facts["full_precision_bytes"] == LARGE_TABLE_ROWS * (4 * 8 + 8)
    assert 0 < facts["dagster/size_bytes"] < facts["table_bytes"]
    assert all(isinstance(facts[name], (int, float)) for name in ("built", "seconds", "vectors", "table_bytes"))
    used, recall = (evaluations(first)[name] for name in ("index_used", "recall_at_k"))
    assert used.passed, used
    assert check_metadata(used)["searches_by_index"] == check_metadata(used)["searches_planned"] == 3
    assert "passage_passage_vector_index" in check_metadata(used)["plan"]
    assert recall.passed, recall


def test_index_stays_in_sync_when_rows_are_embedded_and_not_when_the_input_changes(
    url: str, connection: psycopg.Connection, build_indexed: BuildIndexed, build_project: BuildProject
) -> None:
    create_table(connection, texts=[f"text {number}" for number in range(20)])
    project = build_indexed(url, metric="cosine")
    project.prepare()
    (partition,) = project.partitions
    project.run("encode_in_process", partition_key=partition)
    assets = project.definitions.resolve_implicit_global_asset_job_def()
    built = assets.get_subset(asset_selection={KEY}).execute_in_process(instance=project.instance)
    assert built.success
    project.run("encode_in_process", partition_key=partition)
    assert stale_causes(project) == []
    other = build_project(url, model=MODEL, index={"metric": "cosine"}, input=["passage", "id"])
    assert stale_causes(other) == ["has a new code version"]


def stale_causes(project: Project) -> list[str]:
    """Return why Dagster shows the index as not in sync."""
    graph = project.definitions.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(project.instance, graph, LoadingContextForTest(project.instance))
    return [cause.reason for cause in resolver.get_stale_causes(KEY)]


def test_prediction_is_metadata_if_it_is_asked_for(large: str, build_indexed: BuildIndexed) -> None:
    result = materialize(build_indexed(large, metric="cosine"), predict=True)
    assert result.success
    facts = asset_metadata(result)
    assert facts["prediction_rows_simulated"] == LARGE_TABLE_ROWS
    (event,) = result.asset_materializations_for_node(KEY.to_python_identifier())
    sizes, searches = (
        [dict(record.data) for record in table.records]
        for table in (event.metadata["prediction_sizes"], event.metadata["prediction_searches"])
        if isinstance(table, dg.TableMetadataValue)
    )
    assert [each["max_partition_size"] for each in sizes[:3]] == [64, 128, 256]
    assert [each["build_beam_size"] for each in sizes] == [8, 8, 8, 16]
    assert all(float(each["live_bytes"] or 0) > 0 for each in sizes)
    assert len(searches) == 20
    assert all(0 < float(each["recall"] or 0) <= 1 for each in searches)
    assert facts["prediction_curve"].startswith("![predicted recall](data:image/png;base64,")
    assert len(facts["prediction_curve"]) < MAX_PLOT_CHARACTERS
    assert facts["prediction_recommended"].startswith("min_partition_size ")
    assert not any(name.startswith("prediction") for name in asset_metadata(materialize(build_indexed(large))))


def test_automation_condition_asks_for_the_build_until_the_index_was_built_once(
    large: str, build_indexed: BuildIndexed
) -> None:
    project = build_indexed(large, metric="cosine")
    minute, evaluated = datetime(2026, 1, 5, 12, 14, tzinfo=UTC), None
    requested = []
    for later in (0, 2, 4, 17):
        result = dg.evaluate_automation_conditions(
            project.definitions,
            project.instance,
            cursor=evaluated.cursor if evaluated else None,
            evaluation_time=minute + timedelta(minutes=later),
        )
        evaluated = result
        requested.append(result.get_num_requested(KEY))
    assert requested == [0, 1, 0, 1]
    assert materialize(project).success
    drop(large)
    after = dg.evaluate_automation_conditions(
        project.definitions, project.instance, cursor=result.cursor, evaluation_time=minute + timedelta(minutes=32)
    )
    assert after.get_num_requested(KEY) == 0


@pytest.mark.parametrize("is_prepared", [True, False])
def test_automatic_build_without_coverage_succeeds_and_builds_nothing(
    url: str, build_indexed: BuildIndexed, connection: psycopg.Connection, is_prepared: bool
) -> None:
    if is_prepared:
        fill(url, 30)
        connection.execute("UPDATE passage SET passage_vector = NULL WHERE passage = 'text 1'")
    else:
        create_table(connection, texts=["text"])
    project = build_indexed(url, metric="cosine")
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={KEY})
    result = job.execute_in_process(
        instance=project.instance, tags={"dagster/from_automation_condition": "true"}, raise_on_error=False
    )
    assert result.success
    assert result.asset_materializations_for_node(KEY.to_python_identifier()) == []
    logged = [entry.user_message for entry in project.instance.all_logs(result.run_id)]
    assert any(message.startswith("The index is not built yet.") for message in logged)
    assert index_names(url) == []
    assert not materialize(project).success


def test_recall_check_has_latencies_the_smallest_effort_and_a_plot(
    large: str, build_indexed: BuildIndexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "metrics"))
    project = build_indexed(preferring_indexes(large), metric="cosine", effort=200)
    materialize(project)
    recall = evaluate(project, "recall_at_k")
    facts = check_metadata(recall)
    # The gauge is not rounded.
    (file,) = (tmp_path / "metrics").glob("*.prom")
    assert round(samples(file.read_text(encoding="utf-8"))["crdbvec_recall"], 4) == facts["recall"]
    assert recall.passed
    assert facts["recall"] >= 0.99
    assert recall.description == (f"Recall at 10 is {facts['recall']:.3f} with hnsw.ef_search = 200; 0.95 is wanted.")
    assert (facts["k"], facts["queries"]) == (10, 50)
    assert 0 < facts["p50_ms"] <= facts["p95_ms"]
    assert facts["exact_p50_ms"] > 0
    assert facts["smallest_effort"] <= 200
    text = facts["curve"]
    assert text.startswith("![recall over latency](data:image/png;base64,")
    assert len(text) < MAX_PLOT_CHARACTERS
    image = Image.open(BytesIO(base64.b64decode(text.partition("base64,")[2].rstrip(")"))))
    assert image.format == "PNG"
    measurements = recall.metadata["measurements"]
    assert isinstance(measurements, dg.TableMetadataValue)
    assert 200 in [record.data["effort"] for record in measurements.records]


def test_recall_check_warns_of_an_inaccurate_index(postgres: Server, build_indexed: BuildIndexed) -> None:
    with postgres.new_database() as url:
        fill(url, 3_000)
        project = build_indexed(preferring_indexes(url), metric="cosine", m=2, ef_construction=4, effort=1)
        assert materialize(project).success
        recall = evaluate(project, "recall_at_k")
    assert not recall.passed
    assert recall.severity == dg.AssetCheckSeverity.WARN
    assert check_metadata(recall)["recall"] < 0.95
    assert recall.description is not None
    assert recall.description.endswith("with hnsw.ef_search = 1; 0.95 is wanted. No measured value reaches it.")


def test_use_check_warns_of_a_dropped_index_and_shows_the_query_plan(large: str, build_indexed: BuildIndexed) -> None:
    project = build_indexed(large, metric="cosine")
    materialize(project)
    drop(large)
    used = evaluate(project, "index_used")
    assert not used.passed
    assert used.severity == dg.AssetCheckSeverity.WARN
    assert check_metadata(used)["searches_by_index"] == 0
    assert used.description == "0 of 3 searches use the index."
    assert "passage_passage_vector_index" not in check_metadata(used)["plan"]


def test_use_check_warns_of_a_partial_index_that_the_sql_of_an_application_cannot_use(
    large: str, build_indexed: BuildIndexed
) -> None:
    project = build_indexed(large, metric="cosine", partial=True)
    materialize(project)
    used = evaluate(project, "index_used")
    assert not used.passed
    assert used.description == (
        "0 of 3 searches use the index. The index is used for a search of this project, and not for ORDER BY without a "
        "condition."
    )
    facts = check_metadata(used)
    assert (facts["used by a search of this project"], facts["used by ORDER BY without a condition"]) == (True, False)
    drop(large)


def test_both_checks_warn_of_an_index_for_another_metric(large: str, build_indexed: BuildIndexed) -> None:
    materialize(build_indexed(large, metric="l2"))
    project = build_indexed(large, metric="cosine")
    used, recall = evaluate(project, "index_used"), evaluate(project, "recall_at_k")
    assert not used.passed
    assert not recall.passed
    assert check_metadata(recall)["smallest_effort"] == -1
    assert recall.description is not None
    assert recall.description.startswith("The server did not use the index")


def test_both_checks_warn_of_a_table_without_vectors(url: str, build_indexed: BuildIndexed) -> None:
    fill(url, 0)
    result = materialize(build_indexed(url, metric="cosine"), with_checks=True)
    assert result.success
    assert not evaluations(result)["index_used"].passed
    assert not evaluations(result)["recall_at_k"].passed
    assert evaluations(result)["recall_at_k"].description == "No row has a vector."
    assert "no row has a vector" in check_metadata(evaluations(result)["index_used"])["plan"]


def test_index_is_not_built_below_the_minimum_coverage(url: str, build_indexed: BuildIndexed) -> None:
    fill(url, 2_000, max_batches=1)
    result = materialize(build_indexed(url, metric="cosine"))
    assert not result.success
    assert failure_message(result).startswith(
        "Only 50.0% of the rows of public.passage that have an input have a current vector in passage_vector"
    )
    assert index_names(url) == []


def test_index_that_differs_from_the_configuration_fails_unless_the_run_replaces_it(
    url: str, build_indexed: BuildIndexed
) -> None:
    fill(url, 20)
    assert materialize(build_indexed(url, metric="l2")).success
    project = build_indexed(url, metric="ip")
    rejected = materialize(project)
    assert not rejected.success
    assert "metric: l2, configured: ip" in failure_message(rejected)
    replaced = materialize(project, replace=True)
    assert replaced.success
    assert asset_metadata(replaced)["metric"] == "ip"


def test_unsupported_option_is_a_warning_in_the_log(
    postgres: Server, build_indexed: BuildIndexed, capfd: pytest.CaptureFixture[str]
) -> None:
    with postgres.new_database() as url:
        fill(url, 20)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER TABLE passage ADD COLUMN tenant TEXT")
        result = materialize(build_indexed(url, metric="cosine", prefix=["tenant"]))
    assert result.success
    assert asset_metadata(result)["prefix"] == ""
    assert "The vector index is built without prefix, which PostgreSQL does not support." in capfd.readouterr().err
