"""The index as an asset behind its vector column, and the two checks that prove it."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import dagster as dg
import psycopg
import pytest
from PIL import Image

from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.connection import Database
from tests.orchestration.project import Project, project
from tests.support.servers import Server
from tests.support.tables import create_table
from tests.support.vectors import preferring_indexes
from tests.support.work import embed

KEY = dg.AssetKey(["public", "passage", "passage_vector_index"])
MODEL = "stub_hash"
# From here on PostgreSQL does not think of reading such a table whole.
LARGE = 4_000
_LARGEST_PICTURE = 50_000


def _fill(url: str, rows: int, **options: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection, Database(url) as database:
        create_table(connection, texts=[f"text {number}" for number in range(rows)])
        spec = vector_column(table="passage", input="passage", output="passage_vector", model=MODEL)
        embed(database, spec, batch_size=1_000, **options)
        connection.execute("ANALYZE passage")


@pytest.fixture(scope="module")
def large(server: Server) -> Iterator[str]:
    with server.new_database() as url:
        _fill(url, LARGE)
        yield url


@contextmanager
def indexed(url: str, **index: object) -> Iterator[Project]:
    with project(url, model=MODEL, index=index) as made:
        yield made


def materialize(made: Project, *, prove: bool = False, **config: object) -> dg.ExecuteInProcessResult:
    """Materializes the index, and evaluates its checks behind it, if asked, as the UI does."""
    job = made.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={KEY}, asset_check_selection=None if prove else set()
    )
    run_config = {"ops": {KEY.to_python_identifier(): {"config": config}}} if config else None
    return job.execute_in_process(run_config=run_config, instance=made.instance, raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(KEY.to_python_identifier())
    return {name: value.value for name, value in event.metadata.items()}


def facts_of(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in evaluation.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    description = event.step_failure_data.user_failure_data
    assert description is not None
    return str(description.description)


def drop(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP INDEX IF EXISTS passage_passage_vector_index")


def test_it_lies_downstream_of_its_vector_column(url: str) -> None:
    with indexed(url) as made:
        graph = made.definitions.resolve_asset_graph()
        assert graph.get(KEY).parent_keys == {made.asset}
        assert {check.name for check in graph.asset_check_keys if check.asset_key == KEY} == {
            "index_used",
            "recall_at_k",
        }
        assert graph.get(KEY).group_name == graph.get(made.asset).group_name


def test_without_an_index_entry_there_is_none(url: str) -> None:
    with project(url, model=MODEL) as made:
        assert not made.definitions.resolve_asset_graph().has(KEY)


def test_it_is_built_and_proven_and_a_second_run_finds_it_there(large: str) -> None:
    drop(large)
    with indexed(large, metric="cosine") as made:
        first, second = materialize(made, prove=True), materialize(made)
        assert first.success
        assert second.success
    facts = metadata(first)
    assert (facts["built"], metadata(second)["built"]) == (1, 0)
    assert facts["index"] == "passage_passage_vector_index"
    assert (facts["metric"], facts["prefix"], facts["vectors"]) == ("cosine", "", LARGE)
    assert facts["full_precision_bytes"] == LARGE * (4 * 8 + 8)
    assert 0 < facts["dagster/size_bytes"] < facts["table_bytes"]
    assert all(isinstance(facts[name], (int, float)) for name in ("built", "seconds", "vectors", "table_bytes"))
    used, recall = (checks(first)[name] for name in ("index_used", "recall_at_k"))
    assert used.passed, used
    assert facts_of(used)["searches_by_index"] == facts_of(used)["searches_planned"] == 3
    assert "passage_passage_vector_index" in facts_of(used)["plan"]
    assert recall.passed, recall


def test_recall_is_told_with_latencies_the_smallest_effort_and_a_picture(large: str) -> None:
    drop(large)
    with indexed(preferring_indexes(large), metric="cosine", effort=200) as made:
        materialize(made)
        recall = _check_alone(made, "recall_at_k")
    facts = facts_of(recall)
    assert recall.passed
    assert facts["recall"] >= 0.99
    assert (facts["k"], facts["queries"]) == (10, 50)
    assert 0 < facts["p50_ms"] <= facts["p95_ms"]
    assert facts["exact_p50_ms"] > 0
    assert facts["smallest_effort"] <= 200
    text = facts["curve"]
    assert text.startswith("![recall over latency](data:image/png;base64,")
    assert len(text) < _LARGEST_PICTURE
    image = Image.open(BytesIO(base64.b64decode(text.partition("base64,")[2].rstrip(")"))))
    assert image.format == "PNG"
    measurements = recall.metadata["measurements"]
    assert isinstance(measurements, dg.TableMetadataValue)
    assert 200 in [record.data["effort"] for record in measurements.records]


def test_a_poor_index_makes_the_check_warn(postgres: Server) -> None:
    with postgres.new_database() as url:
        _fill(url, 3_000)
        with indexed(preferring_indexes(url), metric="cosine", m=2, ef_construction=4, effort=1) as made:
            assert materialize(made).success
            recall = _check_alone(made, "recall_at_k")
    assert not recall.passed
    assert recall.severity == dg.AssetCheckSeverity.WARN
    assert facts_of(recall)["recall"] < 0.95


def test_an_index_that_is_gone_makes_the_check_warn_and_shows_the_plan(large: str) -> None:
    drop(large)
    with indexed(large, metric="cosine") as made:
        materialize(made)
        drop(large)
        used = _check_alone(made, "index_used")
    assert not used.passed
    assert used.severity == dg.AssetCheckSeverity.WARN
    assert facts_of(used)["searches_by_index"] == 0
    assert used.description == "0 of 3 searches are answered by the index."
    assert "passage_passage_vector_index" not in facts_of(used)["plan"]


def test_an_index_for_another_metric_is_of_no_use_and_the_check_warns(large: str) -> None:
    drop(large)
    with indexed(large, metric="l2") as made:
        materialize(made)
    with indexed(large, metric="cosine") as made:
        used, recall = _check_alone(made, "index_used"), _check_alone(made, "recall_at_k")
    assert not used.passed
    assert not recall.passed
    assert facts_of(recall)["smallest_effort"] == -1
    drop(large)


def test_a_table_without_vectors_proves_nothing(url: str) -> None:
    _fill(url, 0)
    with indexed(url, metric="cosine") as made:
        result = materialize(made, prove=True)
    assert result.success
    assert not checks(result)["index_used"].passed
    assert not checks(result)["recall_at_k"].passed
    assert "no row has a vector" in facts_of(checks(result)["index_used"])["plan"]


def test_below_the_wanted_coverage_it_fails_with_a_sentence_and_nothing_is_built(url: str) -> None:
    _fill(url, 2_000, max_batches=1)
    with indexed(url, metric="cosine") as made:
        result = materialize(made)
    assert not result.success
    assert failure(result).startswith("50.0% of the rows of public.passage that have an input have a fresh vector in")
    assert _indexes(url) == []


def test_an_index_that_is_not_as_asked_fails_until_the_run_may_replace_it(url: str) -> None:
    _fill(url, 20)
    with indexed(url, metric="l2") as made:
        assert materialize(made).success
    with indexed(url, metric="ip") as made:
        refused = materialize(made)
        assert not refused.success
        assert "metric is vector_l2_ops and should be vector_ip_ops" in failure(refused)
        replaced = materialize(made, replace=True)
        assert replaced.success
        assert metadata(replaced)["metric"] == "ip"


def test_what_the_server_has_not_is_a_line_in_the_log(postgres: Server, capfd: pytest.CaptureFixture[str]) -> None:
    with postgres.new_database() as url:
        _fill(url, 20)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER TABLE passage ADD COLUMN tenant TEXT")
        with indexed(url, metric="cosine", prefix=["tenant"]) as made:
            result = materialize(made)
    assert result.success
    assert metadata(result)["prefix"] == ""
    assert "postgres has no prefix columns in a vector index, so the index is built without" in capfd.readouterr().err


def _check_alone(made: Project, name: str) -> dg.AssetCheckEvaluation:
    """Evaluates one check without materializing anything."""
    key = dg.AssetCheckKey(KEY, name)
    job = made.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={key}
    )
    result = job.execute_in_process(instance=made.instance)
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def _indexes(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%vector_index'").fetchall()
    return [name for (name,) in rows]
