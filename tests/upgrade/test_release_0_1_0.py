"""Upgrade from release 0.1.0: no row is embedded again; failed rows, partitions, runs and names are kept.

The fixtures are described in tests/fixtures/release_0_1_0/README.md.
"""

import importlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import dagster as dg
import numpy as np
import pytest
from dagster._core.definitions.selector import InstigatorSelector

from tests.upgrade.conftest import Restored
from tests.upgrade.state import (
    FOLDER,
    comparable_errors,
    connect,
    encoded_inputs,
    models_of,
    read_rows,
    rows_of_partition,
)

EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
COLUMNS: Mapping[str, Mapping[str, Any]] = EXPECTED["columns"]
DAGSTER: Mapping[str, Any] = EXPECTED["dagster"]
NOTE = "public.note.note_vector"

# Release 0.1.0 embedded a text of a no-break space only. It has no content now, so its vector is cleared.
NOW_BLANK = "[1014]"
COLUMNS[NOTE]["plan"]["blank"] += 1
COLUMNS[NOTE]["plan"]["embedded"] -= 1
COLUMNS[NOTE]["embedding"]["rows_cleared"] += 1
COLUMNS[NOTE]["embedding"]["cleared"].append(NOW_BLANK)
COLUMNS[NOTE]["embedding"]["status"]["embedded"] -= 1
NOTE_ASSET = dg.AssetKey(["public", "note", "note_vector"])

each_column = pytest.mark.parametrize("name", COLUMNS)

# The statements that upgrade the metadata tables of 0.1.0, which recorded no version. Nothing else is needed.
UPGRADE = (
    'CREATE TABLE IF NOT EXISTS {schema}."crdbvec_metadata_version" '
    "(version INT8 NOT NULL PRIMARY KEY, installed_at TIMESTAMPTZ NOT NULL)",
    'CREATE TABLE IF NOT EXISTS {schema}."crdbvec_claims" '
    "(table_name TEXT NOT NULL, output TEXT NOT NULL, owner TEXT NOT NULL, lower_bound TEXT, upper_bound TEXT, "
    "claimed_at TIMESTAMPTZ NOT NULL, expires_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, output, owner))",
    'ALTER TABLE {schema}."crdbvec_vector_columns" ADD COLUMN IF NOT EXISTS table_oid INT8',
    'CREATE TABLE IF NOT EXISTS {schema}."crdbvec_limits" (table_name TEXT NOT NULL PRIMARY KEY, '
    "assigned_until TIMESTAMPTZ, wanted_until TIMESTAMPTZ)",
    'CREATE TABLE IF NOT EXISTS {schema}."crdbvec_connections" (table_name TEXT NOT NULL, slot INT8 NOT NULL, '
    "owner TEXT NOT NULL, expires_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, slot))",
    'CREATE TABLE IF NOT EXISTS {schema}."crdbvec_lags" (table_name TEXT NOT NULL, output TEXT NOT NULL, '
    "measured_at TIMESTAMPTZ NOT NULL, seconds FLOAT8 NOT NULL, PRIMARY KEY (table_name, output, measured_at))",
    'ALTER TABLE {schema}."crdbvec_vector_columns" ADD COLUMN IF NOT EXISTS suspended_at TIMESTAMPTZ',
    'CREATE TABLE IF NOT EXISTS {schema}."crdbvec_migrations" '
    "(table_name TEXT NOT NULL, output TEXT NOT NULL, second TEXT NOT NULL, first_model TEXT NOT NULL, "
    "second_model TEXT NOT NULL, first_models TEXT NOT NULL, second_models TEXT NOT NULL, "
    "first_column INT8 NOT NULL, phase TEXT NOT NULL, started_at TIMESTAMPTZ NOT NULL, "
    "changed_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, output))",
    'ALTER TABLE {schema}."crdbvec_vector_columns" ADD COLUMN IF NOT EXISTS metrics TEXT',
    'CREATE TABLE IF NOT EXISTS {schema}."crdbvec_usage" (table_name TEXT NOT NULL, output TEXT NOT NULL, '
    "hour TIMESTAMPTZ NOT NULL, tokens INT8 NOT NULL, cost FLOAT8 NOT NULL, PRIMARY KEY (table_name, output, hour))",
    'ALTER TABLE {schema}."crdbvec_migrations" ADD COLUMN IF NOT EXISTS first_chunks TEXT, '
    "ADD COLUMN IF NOT EXISTS second_chunks TEXT, ADD COLUMN IF NOT EXISTS first_chunk_table INT8",
    'INSERT INTO {schema}."crdbvec_metadata_version" (version, installed_at) VALUES (8, now()) '
    "ON CONFLICT (version) DO NOTHING",
)

# Names that the YAML files, Dagster definitions and model wrappers of a project for 0.1.0 refer to.
NAMED_IN_FILES = {
    "crdbvec_pipelines.config": ["load_config", "parse_config"],
    "crdbvec_pipelines.definitions": ["defs"],
    "crdbvec_pipelines.encoding": ["EncoderUnavailable", "InputRefused", "InputTooLong", "ModelError"],
    "crdbvec_pipelines.encoding.sentence_transformer": ["SentenceTransformerModel"],
    "crdbvec_pipelines.orchestration.build": ["build_definitions"],
    "crdbvec_pipelines.orchestration.component": ["VectorColumns"],
    "crdbvec_pipelines.orchestration.storage": ["PostgresStorage"],
}

# The reasons of failures in 0.1.0, and their current names.
RENAMED_REASONS = {"poison": "rejected", "oversize": "too_long"}


def chosen(values: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values whose names occur in `like`; a later release may add others."""
    return {name: values.get(name) for name in like}


def failures(errors: list[dict[str, Any]]) -> list[tuple[Any, str, int]]:
    """Return key, reason and number of attempts of each failed row, with the current names of the reasons."""
    found = []
    for error in comparable_errors(errors):
        reason = error.get("status") or error["error_class"]
        found.append((error["key"], RENAMED_REASONS.get(reason, reason), error["attempts"]))
    return found


@each_column
def test_status_and_plan_report_the_same_counts(unchanged: Restored, name: str) -> None:
    expected = COLUMNS[name]
    (status,) = unchanged.of(name, "status")
    assert chosen(status, expected["status"]) == expected["status"]
    (plan,) = unchanged.of(name, "plan")
    counts = ("rows", "embedded", "pending", "never_embedded", "edited", "other_model", "blank", "duplicates")
    # 0.1.0 counted deferred rows, which no run embeds before their retry time, as pending.
    deferred = dict.fromkeys(("pending", "never_embedded"), plan["deferred"])
    assert plan["deferred"] <= status["deferred"]
    assert {count: plan[count] + deferred.get(count, 0) for count in counts} == {
        count: expected["plan"][count] for count in counts
    }
    # In 0.1.0 the only statement was the one that writes vectors.
    assert [statement.split()[0] for statement in expected["plan"]["statements"]] == ["UPDATE"]
    *needed, write = plan["statements"]
    schema = f'"{unchanged.column(name).table.schema}"'
    upgrade = [statement.format(schema=schema) for statement in UPGRADE]
    assert needed[: len(upgrade)] == upgrade
    # The trigger function of 0.1.0 has no search path of its own, so it is replaced.
    replaced = [statement.split("(")[0] for statement in needed[len(upgrade) :]]
    if replaced or unchanged.column(name).staleness == "trigger":
        assert len(replaced) == 3
        assert all("FUNCTION" in statement or "TRIGGER" in statement for statement in replaced)
    assert write.startswith("UPDATE ")


@each_column
def test_partition_keys_contain_the_same_rows(unchanged: Restored, name: str) -> None:
    column, expected = unchanged.column(name), COLUMNS[name]["partitions"]
    with connect(unchanged.url) as connection:
        assert {key: rows_of_partition(connection, column.table, key) for key in expected} == expected


@each_column
def test_failed_rows_are_listed_and_deferred_until_retry(restored: Restored, name: str) -> None:
    expected = COLUMNS[name]
    found = restored.of(name, "errors", "list")
    assert failures(found) == failures(expected["errors"])
    assert {error["message"] for error in found} == {error["message"] for error in expected["errors"]}
    # `plan` counts deferred rows as pending, `status` does not.
    assert restored.of(name, "status")[0]["pending"] == expected["status"]["pending"]
    assert restored.of(name, "errors", "retry")["released"] == len(expected["errors"])
    assert restored.of(name, "status")[0]["pending"] == expected["plan"]["pending"]


@each_column
def test_only_pending_rows_are_embedded(restored: Restored, name: str) -> None:
    column, expected = restored.column(name), COLUMNS[name]["embedding"]
    with connect(restored.url) as connection:
        before = read_rows(connection, column)
        assert {key: row.fingerprint for key, row in before.items()} == COLUMNS[name]["fingerprints"]
        (report,) = restored.of(name, "embed")["vectors"]
        after = read_rows(connection, column)
        models = models_of(connection, column)
    counted = ("rows_embedded", "rows_failed", "rows_cleared")
    assert {count: report[count] for count in counted} == {count: expected[count] for count in counted}
    assert encoded_inputs(restored.calls) == expected["inputs"]
    # No other row was updated, not even with equal values.
    written = {key for key, row in after.items() if row.version != before[key].version}
    assert written == {*expected["fingerprints"], *expected["cleared"]}
    assert {key: after[key].fingerprint for key in expected["fingerprints"]} == expected["fingerprints"]
    assert [key for key in expected["cleared"] if after[key].vector or after[key].fingerprint] == []
    for key, vector in expected["vectors"].items():
        assert similarity(after[key].vector, vector) >= 0.9999, key
    assert models == COLUMNS[name]["models"]

    (again,) = restored.of(name, "embed")["vectors"]
    assert (again["rows_read"], again["rows_embedded"], again["rows_cleared"]) == (0, 0, 0)
    (status,) = restored.of(name, "status")
    assert chosen(status, expected["status"]) == expected["status"]
    assert failures(restored.of(name, "errors", "list")) == failures(expected["errors"])


def similarity(found: str | None, expected: str) -> float:
    """Return the cosine of two vectors in text form."""
    assert found is not None
    one, other = np.array(json.loads(found), np.float64), np.array(json.loads(expected), np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_vector_index_matches_the_configuration(restored: Restored) -> None:
    expected = EXPECTED["index"]
    found = restored.of("public.gloss.gloss_vector", "index", "status")
    # Later releases describe more properties of an index.
    definition = chosen(found["definition"], expected["definition"])
    assert chosen({**found, "definition": definition}, expected) == expected
    # `index build` requires that no row is pending.
    restored.of("public.gloss.gloss_vector", "embed")
    built = restored.of("public.gloss.gloss_vector", "index", "build")
    assert built == {"index": expected["index"], "built": False, "replaced": False, "recall": None}


def test_a_search_finds_the_same_rows(unchanged: Restored) -> None:
    expected = EXPECTED["search"]
    hits = unchanged.of("public.gloss.gloss_vector", "search", expected["query"], "-l", len(expected["keys"]))
    assert [hit["key"] for hit in hits] == expected["keys"]


@pytest.mark.parametrize("module", NAMED_IN_FILES)
def test_names_used_in_project_files_are_importable(module: str) -> None:
    loaded = importlib.import_module(module)
    assert [name for name in NAMED_IN_FILES[module] if not hasattr(loaded, name)] == []


def test_dagster_names_are_unchanged(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    found = {
        "assets": {key.to_user_string() for key in graph.get_all_asset_keys()},
        "checks": {f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys},
        "jobs": {job.name for job in definitions.resolve_all_job_defs()},
        "sensors": {sensor.name for sensor in definitions.sensors or ()},
        "schedules": {schedule.name for schedule in definitions.schedules or ()},
    }
    assert {kind: lost for kind, names in found.items() if (lost := set(DAGSTER[kind]) - names)} == {}


def test_the_old_dagster_yaml_opens_the_old_storage(instance: dg.DagsterInstance) -> None:
    counted: dict[str, Counter[str]] = {}
    for run in instance.get_runs():
        counted.setdefault(run.job_name, Counter())[run.status.value] += 1
        assert instance.all_logs(run.run_id)
    assert counted == DAGSTER["runs"]
    assert Counter(backfill.status.value for backfill in instance.get_backfills()) == DAGSTER["backfills"]


def test_partitions_and_their_materializations_are_kept(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    graph = definitions.resolve_asset_graph()
    partitioned = {
        key.to_user_string(): definition.name
        for key in graph.get_all_asset_keys()
        if isinstance(definition := graph.get(key).partitions_def, dg.DynamicPartitionsDefinition)
    }
    assert len(partitioned) == len(COLUMNS)
    assert set(partitioned.values()) == set(DAGSTER["partitions"])
    for name, partitions in DAGSTER["partitions"].items():
        assert list(instance.get_dynamic_partitions(name)) == partitions
    materialized = {
        name: sorted(instance.get_materialized_partitions(dg.AssetKey.from_user_string(name))) for name in partitioned
    }
    assert {name: partitions for name, partitions in materialized.items() if partitions} == DAGSTER["materialized"]


def test_sensor_and_schedule_states_are_kept(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    names = {each.name for each in (*(definitions.sensors or ()), *(definitions.schedules or ()))}
    found = {state.selector_id: state.status.value for state in instance.all_instigator_state()}
    for switch in DAGSTER["switches"]:
        # Dagster identifies the state of a sensor or schedule by code location, repository and name.
        selector = InstigatorSelector(
            location_name="crdbvec_pipelines", repository_name="__repository__", name=switch["name"]
        )
        assert selector.get_id() == switch["selector_id"]
        assert found[switch["selector_id"]] == switch["status"]
        assert switch["name"] in names


def test_syncing_partitions_has_the_same_result(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    for job in DAGSTER["jobs"]:
        if job.endswith("__sync_partitions"):
            assert definitions.resolve_job_def(job).execute_in_process(instance=instance).success
    found = {name: list(instance.get_dynamic_partitions(name)) for name in DAGSTER["partitions"]}
    # 0.1.0 splits the last partition of two tables, which have more rows than before.
    assert found == DAGSTER["synced"]


def test_a_sensor_accepts_its_old_cursor(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    # Otherwise the tick may request this job first, depending on the age of the cursor.
    assert definitions.resolve_job_def("note_vector__sync_partitions").execute_in_process(instance=instance).success
    (switch,) = (switch for switch in DAGSTER["switches"] if switch["cursor"])
    sensor = definitions.resolve_sensor_def(switch["name"])
    with dg.build_sensor_context(
        instance=instance,
        instance_ref=instance.get_ref(),
        cursor=switch["cursor"],
        definitions=definitions,
        resources={key: (definitions.resources or {})[key] for key in sensor.required_resource_keys},
    ) as context:
        tick = sensor.evaluate_tick(context)
    assert [request.job_name for request in tick.run_requests or ()] == ["note_vector__follow"], tick.skip_message


def test_old_run_configs_are_valid(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    for run in instance.get_runs():
        dg.validate_run_config(definitions.resolve_job_def(run.job_name), run.run_config)
    options = {"batch_size": 512, "workers": 4, "num_batches": 2}
    config: dict[str, Any] = {"ops": {"public__note__note_vector": {"config": options}}}
    for action in ("encode", "encode_in_process"):
        dg.validate_run_config(definitions.resolve_job_def(f"note_vector__{action}"), config)
    since = {"edited_since": "2025-03-01T00:00:00+00:00", "minutes": 1.0}
    config = {"ops": {"public__note__note_vector__follow_op": {"config": since}}}
    dg.validate_run_config(definitions.resolve_job_def("note_vector__follow"), config)


def test_partition_runs_embed_only_pending_rows(
    instance: dg.DagsterInstance, definitions: dg.Definitions, restored: Restored
) -> None:
    expected = COLUMNS[NOTE]["embedding"]
    partitions = DAGSTER["partitions"]["crdbvec/public/note/note_vector"]
    job = definitions.resolve_job_def("note_vector__encode_in_process")
    for partition in partitions:
        assert job.execute_in_process(instance=instance, partition_key=partition).success
    assert encoded_inputs(restored.calls) == expected["inputs"]
    assert instance.get_materialized_partitions(NOTE_ASSET) == set(partitions)
    runs = instance.get_runs(dg.RunsFilter(job_name="note_vector__encode_in_process"))
    assert len(runs) == sum(DAGSTER["runs"]["note_vector__encode_in_process"].values()) + len(partitions)


def test_maintenance_embeds_only_pending_rows(
    instance: dg.DagsterInstance, definitions: dg.Definitions, restored: Restored
) -> None:
    assert definitions.resolve_job_def("note_vector__maintain").execute_in_process(instance=instance).success
    assert encoded_inputs(restored.calls) == COLUMNS[NOTE]["embedding"]["inputs"]
    (status,) = restored.of(NOTE, "status")
    assert chosen(status, COLUMNS[NOTE]["embedding"]["status"]) == COLUMNS[NOTE]["embedding"]["status"]


def test_the_follow_job_embeds_only_rows_without_a_vector(
    instance: dg.DagsterInstance, definitions: dg.Definitions, restored: Restored
) -> None:
    assert definitions.resolve_job_def("note_vector__follow").execute_in_process(instance=instance).success
    expected = [text for text in COLUMNS[NOTE]["embedding"]["inputs"] if not text.endswith(", edited")]
    assert encoded_inputs(restored.calls) == expected
