"""The vector column as an asset: partitions materialized on a real instance, numbers, lineage, refusals, slices."""

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.keyspace import KeyRange
from tests.orchestration.conftest import Stored
from tests.orchestration.project import Project
from tests.orchestration.stored import configuration
from tests.support.models import CallLog
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, SHAPES, KeyShape, create_table, set_text, vectors

NUMBERS = {
    "rows_embedded",
    "rows_per_second",
    "rows_pending",
    "rows_failed",
    "rows_changed_meanwhile",
    "rows_truncated",
    "rows_cleared",
    "rows_blank",
    "batches",
    "retries",
    "seconds",
    "dagster/partition_row_count",
}
WHOLE = "public:passage::min::max"


def texts(count: int) -> list[str | None]:
    return [f"text {number}" for number in range(count)]


def embedded(connection: psycopg.Connection, shape: KeyShape = INT_SHAPE) -> int:
    return sum(vector is not None for vector in vectors(connection, shape).values())


def config(found: Project, **values: int) -> dict[str, object]:
    """The run configuration as one types it into the Launchpad."""
    return {"ops": {"__".join(found.names.asset): {"config": values}}}


def with_whole_table(found: Project) -> Project:
    """The table as one partition, without a run to find that out."""
    found.instance.add_dynamic_partitions(found.names.partitions, [WHOLE])
    return found


def sentence_of_failure(result: dg.ExecuteInProcessResult) -> str:
    """What the one step that failed says; it must not have been tried again."""
    assert not result.success
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_partitions_together_embed_every_row(
    stored: Stored, connection: psycopg.Connection, calls: CallLog, shape: KeyShape
) -> None:
    create_table(connection, shape, [*texts(120), None])
    found = stored({"partitions": {"target_rows": 40}})
    assert found.run("sync_partitions").success
    assert len(found.partitions) >= 3
    for key in found.partitions:
        assert found.run("encode_in_process", partition_key=key).success
    metadata = found.materialized()
    assert set(metadata) == set(found.partitions)
    assert sum(numbers["rows_embedded"] for numbers in metadata.values()) == 120
    assert sum(numbers["dagster/partition_row_count"] for numbers in metadata.values()) == 121
    assert sum(numbers["rows_blank"] for numbers in metadata.values()) == 1
    assert sorted(calls.inputs()) == sorted(str(text) for text in texts(120))
    assert embedded(connection, shape) == 120


def test_a_materialization_carries_the_numbers_that_the_ui_plots(
    stored: Stored, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=[*texts(25), None])
    found = with_whole_table(stored({"batch_size": 10}))
    found.run("encode_in_process", partition_key=WHOLE)
    (numbers,) = found.materialized().values()
    assert set(numbers) >= NUMBERS
    assert all(isinstance(numbers[name], (int, float)) for name in NUMBERS)
    assert (numbers["rows_embedded"], numbers["rows_pending"], numbers["batches"]) == (25, 0, 3)
    assert (numbers["dagster/partition_row_count"], numbers["rows_blank"]) == (26, 1)
    columns = {column.name: column.type for column in numbers["dagster/column_schema"].columns}
    assert columns == {"passage_vector": "VECTOR(8)", "passage_vector_fingerprint": "TEXT"}
    found.run("encode_in_process", partition_key=WHOLE)
    (numbers,) = found.materialized().values()
    assert (numbers["rows_embedded"], numbers["rows_pending"], numbers["rows_per_second"]) == (0, 0, 0)


def test_a_run_may_be_told_how_large_and_how_many_batches_are(
    stored: Stored, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(50))
    found = with_whole_table(stored({"batch_size": 50}))
    told = config(found, batch_size=7, num_batches=2, workers=2)
    found.run("encode_in_process", told, partition_key=WHOLE)
    (numbers,) = found.materialized().values()
    assert (numbers["batches"], numbers["rows_embedded"], numbers["rows_pending"]) == (2, 14, 36)
    assert [len(batch) for batch in calls.batches()] == [7, 7]
    found.run("encode_in_process", partition_key=WHOLE)
    assert [len(batch) for batch in calls.batches()] == [7, 7, 36]


@pytest.mark.parametrize("values", [{"batch_size": 0}, {"workers": 65}, {"num_batches": 0}])
def test_a_run_cannot_be_told_what_makes_no_sense(
    stored: Stored, connection: psycopg.Connection, calls: CallLog, values: dict[str, int]
) -> None:
    create_table(connection, texts=texts(5))
    found = with_whole_table(stored())
    with pytest.raises(dg.DagsterError):
        found.run("encode_in_process", config(found, **values), partition_key=WHOLE)
    assert calls.batches() == []


@pytest.mark.parametrize("workers", [1, 3])
def test_slices_share_the_partition_between_them(
    stored: Stored, connection: psycopg.Connection, calls: CallLog, workers: int
) -> None:
    create_table(connection, COMPOSITE_SHAPE, texts(30))
    found = with_whole_table(stored({"workers": workers}))
    asset = found.definitions.resolve_assets_def(found.asset)
    result = dg.materialize([asset], partition_key=WHOLE, instance=found.instance)
    steps = [event.step_key for event in result.get_step_success_events() if event.step_key]
    assert sum("encode_slice[" in step for step in steps) == workers
    (numbers,) = found.materialized().values()
    assert (numbers["rows_embedded"], numbers["batches"]) == (30, workers)
    assert [len(batch) for batch in calls.batches()] == [30 // workers] * workers
    assert embedded(connection, COMPOSITE_SHAPE) == 30


def test_batches_are_dealt_out_to_the_slices(stored: Stored, connection: psycopg.Connection, calls: CallLog) -> None:
    create_table(connection, texts=texts(40))
    found = with_whole_table(stored({"workers": 3}))
    asset = found.definitions.resolve_assets_def(found.asset)
    told = config(found, num_batches=2, batch_size=5)
    dg.materialize([asset], partition_key=WHOLE, instance=found.instance, run_config=told)
    assert [len(batch) for batch in calls.batches()] == [5, 5]
    assert embedded(connection) == 10


def test_a_vector_whose_text_is_gone_goes_too_where_nothing_else_is_pending(
    stored: Stored, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(3))
    found = with_whole_table(stored())
    found.run("encode_in_process", partition_key=WHOLE)
    set_text(connection, INT_SHAPE, 1, None)
    found.run("encode_in_process", partition_key=WHOLE)
    (numbers,) = found.materialized().values()
    assert embedded(connection) == 2
    assert (numbers["rows_cleared"], numbers["rows_embedded"]) == (1, 0)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("added by hand", "'added by hand' is not a partition key of public.passage; remove it, and let crdbvec sync"),
        ("public:other::min::max", "'public:other::min::max' is not a partition key of public.passage; remove it"),
        ("public:passage::i1:i2::max", "A key range with 2 value(s) a bound does not fit public.passage, whose "),
    ],
)
def test_a_partition_that_is_none_of_ours_is_refused_once_and_in_a_sentence(
    stored: Stored, connection: psycopg.Connection, calls: CallLog, key: str, sentence: str
) -> None:
    create_table(connection, texts=texts(3))
    found = stored()
    found.instance.add_dynamic_partitions(found.names.partitions, [key])
    result = found.run("encode_in_process", partition_key=key, raise_on_error=False)
    assert sentence in sentence_of_failure(result)
    assert found.materialized() == {}
    assert calls.batches() == []


def test_a_table_that_cannot_carry_the_column_is_refused_without_retry(
    stored: Stored, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(3))
    found = with_whole_table(stored({"input": "pasage"}))
    result = found.run("encode_in_process", partition_key=WHOLE, raise_on_error=False)
    assert "has no column pasage to embed; did you mean passage?" in sentence_of_failure(result)


@pytest.mark.parametrize("prefix", [[], ["search"]])
def test_the_source_table_is_upstream_of_its_vector_column(instance: dg.DagsterInstance, prefix: list[str]) -> None:
    found = Project(configuration("postgresql://nobody@localhost/none", asset_prefix=prefix), instance)
    graph = found.definitions.resolve_asset_graph()
    source = dg.AssetKey([*prefix, "public", "passage"])
    node = graph.get(dg.AssetKey([*prefix, "public", "passage", "passage_vector"]))
    assert node.parent_keys == {source}
    assert graph.get(source).is_external
    lineage = node.metadata["dagster/column_lineage"]
    assert isinstance(lineage, dg.TableColumnLineage)
    (dependency,) = lineage.deps_by_column["passage_vector"]
    assert (dependency.asset_key, dependency.column_name) == (source, "passage")


def test_between_steps_travel_key_ranges_and_counts_only(
    stored: Stored, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(10))
    found = with_whole_table(stored())
    result = found.run("encode_in_process", partition_key=WHOLE)
    (work,) = result.output_for_node(f"{'__'.join(found.names.asset)}.{found.names.stem}__plan_slices").values()
    assert (work.key_range, work.pending, work.workers) == (KeyRange(), 10, 1)


def test_a_password_is_in_no_event(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_URL", "postgresql://me:geheim@127.0.0.1:1/db")
    found = Project(configuration("", database={"url": {"env": "SOME_URL"}}), instance)
    result = found.run("sync_partitions", raise_on_error=False)
    assert not result.success
    told = "".join(str(entry) for entry in (*result.all_events, *instance.all_logs(result.run_id)))
    assert "could not be reached" in told
    assert "geheim" not in told


def test_a_rows_text_is_in_no_event_when_the_database_refuses_it(
    stored: Stored, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=["geheim", "harmless"])
    found = with_whole_table(stored())
    found.run("encode_in_process", config(found, num_batches=1, batch_size=1), partition_key=WHOLE)
    connection.execute("UPDATE passage SET passage_vector = NULL")
    connection.execute("ALTER TABLE passage ADD CHECK (passage <> 'geheim' OR passage_vector IS NULL)")
    result = found.run("encode_in_process", partition_key=WHOLE, raise_on_error=False)
    (numbers,) = found.materialized().values()
    assert (numbers["rows_failed"], numbers["rows_embedded"]) == (1, 1)
    told = "".join(str(entry) for entry in (*result.all_events, *found.instance.all_logs(result.run_id)))
    assert "geheim" not in told
