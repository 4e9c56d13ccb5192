"""What Dagster concludes about outdated assets: the code version and the inputs at the last materialization."""

from typing import Any

import dagster as dg
import psycopg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from tests.orchestration.project import BuildProject, Project
from tests.support.models import CallLog
from tests.support.tables import INT_SHAPE, create_table, insert_rows


def causes(project: Project, asset: dg.AssetKey, partition: str | None = None) -> list[str]:
    """Return why the UI shows an asset or a partition of it as unsynced; an empty list if it is synced."""
    graph = project.definitions.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(project.instance, graph, LoadingContextForTest(project.instance))
    found = [cause.reason for cause in resolver.get_stale_causes(asset, partition)]
    assert (resolver.get_status(asset, partition) == StaleStatus.FRESH) == (not found)
    return found


def prepared(build_project: BuildProject, url: str, **entry: Any) -> Project:
    project = build_project(url, partitions={"target_rows": 10}, **entry)
    assert project.run("sync_partitions").success
    return project


def texts(count: int) -> list[str | None]:
    return [f"text {number}" for number in range(count)]


def test_partition_is_unsynced_after_the_model_has_changed_until_it_is_materialized(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(20))
    project = prepared(build_project, url)
    first, *others = project.partitions
    assert others
    for key in project.partitions:
        project.run("encode_in_process", partition_key=key)
    assert [causes(project, project.asset, key) for key in project.partitions] == [[]] * len(project.partitions)
    changed = prepared(build_project, url, model="stub_hash")
    new = [["has a new code version"]]
    assert [causes(changed, changed.asset, key) for key in changed.partitions] == new * len(changed.partitions)
    changed.run("encode_in_process", partition_key=first)
    assert causes(changed, changed.asset, first) == []
    assert [causes(changed, changed.asset, key) for key in others] == new * len(others)


def test_follow_run_is_of_the_present_code_version_and_does_not_hide_a_change(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(5))
    project = prepared(build_project, url)
    (key,) = project.partitions
    project.run("follow")
    assert causes(project, project.asset, key) == []
    changed = prepared(build_project, url, model="stub_failing")
    insert_rows(connection, INT_SHAPE, {100: "new"})
    # It embeds the new row, and leaves those with vectors of the other model.
    changed.run("follow")
    assert changed.rows_embedded() == {key: 1}
    assert causes(changed, changed.asset, key) == ["has a new code version"]


def test_index_is_never_unsynced_by_later_materializations(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(30))
    project = prepared(build_project, url, index={})
    for key in project.partitions:
        project.run("encode_in_process", partition_key=key)
    index = dg.AssetKey(project.names.index)
    build = project.definitions.resolve_implicit_global_asset_job_def()
    assert build.execute_in_process(instance=project.instance, asset_selection=[index]).success
    assert causes(project, index) == []
    insert_rows(connection, INT_SHAPE, {100: "new"})
    for key in project.partitions:
        project.run("encode_in_process", partition_key=key)
    assert project.run("maintain").success
    assert causes(project, index) == []


def test_materialization_of_a_source_that_is_an_asset_of_the_project_makes_its_partitions_unsynced(
    url: str, build_project: BuildProject, connection: psycopg.Connection, calls: CallLog
) -> None:
    create_table(connection, texts=texts(5))
    project = prepared(build_project, url)
    (key,) = project.partitions
    source = dg.AssetKey(project.names.source)
    project.run("encode_in_process", partition_key=key)
    project.instance.report_runless_asset_event(dg.AssetMaterialization(source, tags={"dagster/data_version": "2"}))
    assert causes(project, project.asset, key) == ["has a new dependency data version"]
    project.run("encode_in_process", partition_key=key)
    assert causes(project, project.asset, key) == []
