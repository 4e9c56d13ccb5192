"""Making Dagster's dynamic partitions equal to the partition plan of a table: the one place that changes them."""

import dagster as dg

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.claims import claimed_partition_plan
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.rows.range_state import range_state
from crdbvec_pipelines.database.schema.migrations import find_migration
from crdbvec_pipelines.keyspace import KeyRange, PartitionKeyError, parse_partition_key
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.metadata import materialization
from crdbvec_pipelines.orchestration.instance.dagster_internals import version_tags
from crdbvec_pipelines.orchestration.instance.in_progress import targeted_partitions
from crdbvec_pipelines.orchestration.partitions.owner import claim_ownership
from crdbvec_pipelines.partitioning import PartitionPlan, plan_partitions
from crdbvec_pipelines.refresh.completion import Completion
from crdbvec_pipelines.refresh.report import RefreshReport

# SQLite, Dagster's storage without a server, accepts a limited number of variables in one statement.
_KEYS_PER_STATEMENT = 1_000


def sync_partitions(
    instance: dg.DagsterInstance, column: BoundColumn, names: AssetNames, location: str | None = None
) -> PartitionPlan:
    """Make the partition plan of a table, and make Dagster's partitions equal to it.

    Keys are added before others are removed, so that a process that dies in between leaves no gap. Keys that runs or
    backfills target are not removed, because Dagster would fail both. Two syncs of a column run one after the other.

    Dagster keeps partitions in the order in which they were added, and ranges and backfills use that order. It is the
    key order, except for a range that fills a gap.

    Args:
        instance: Dagster's instance.
        column: The prepared column.
        names: The names of the column in Dagster.
        location: The code location of the run; None outside of code locations.

    Raises:
        PartitionOwnerError: The partitions belong to a table of another database, in another code location.
        PartitionKeyError: The primary key has values that cannot be written as partition keys.
        DatabaseError: The server rejected a statement.
    """
    with claimed_partition_plan(column):
        _forget_former_column(instance, column, names)
        existing = instance.get_dynamic_partitions(names.partitions)
        claim_ownership(instance, column, names, location, is_new=not existing)
        in_use = targeted_partitions(instance, names, existing)
        keys = TableKeys(column.database, column.table)
        plan = plan_partitions(keys, column.spec.partitions, existing, in_use)
        for start in range(0, len(plan.added), _KEYS_PER_STATEMENT):
            instance.add_dynamic_partitions(names.partitions, list(plan.added[start : start + _KEYS_PER_STATEMENT]))
        if not plan.removed:
            return plan
        asset = dg.AssetKey(names.asset)
        was_materialized = not instance.get_materialized_partitions(asset).isdisjoint(plan.removed)
        # A run or a backfill may have been launched since.
        plan = plan.keeping(targeted_partitions(instance, names, plan.removed))
        for key in plan.removed:
            instance.delete_dynamic_partition(names.partitions, key)
        if was_materialized:
            _materialize_complete(instance, column, names, plan)
    return plan


def _materialize_complete(
    instance: dg.DagsterInstance, column: BoundColumn, names: AssetNames, plan: PartitionPlan
) -> None:
    """Mark those parts of a materialized partition as materialized that have no pending rows."""
    versions = version_tags(instance, names)
    for key in plan.added:
        state = range_state(column, parse_partition_key(key, column.table.name))
        if state.is_complete:
            done = Completion(RefreshReport(), state, is_claimed=False, is_done=True)
            instance.report_runless_asset_event(materialization(names, column, key, done, versions=versions))


def _forget_former_column(instance: dg.DagsterInstance, column: BoundColumn, names: AssetNames) -> None:
    """Delete the history of a second column of the same name that an earlier model migration has dropped."""
    if column.spec.second_of is None:
        return
    migration = find_migration(column.database, column.table.name, column.spec.output)
    for key in (dg.AssetKey(names.asset), dg.AssetKey(names.index)):
        event = instance.get_latest_materialization_event(key)
        if migration is not None and event is not None and event.timestamp < migration.started_at.timestamp():
            instance.wipe_assets([key])


def key_range_or_none(key: str, table: TableName) -> KeyRange | None:
    """Return the key range of a partition key; None for a key, added by hand, that is not a key range of the table."""
    try:
        return parse_partition_key(key, table)
    except PartitionKeyError:
        return None


def code_location(run: dg.DagsterRun) -> str | None:
    """Return the name of the code location that a run was launched from; None for a run in a Python process."""
    return run.remote_job_origin.location_name if run.remote_job_origin else None
