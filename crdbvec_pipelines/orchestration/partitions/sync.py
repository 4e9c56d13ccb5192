"""Making Dagster's dynamic partitions equal to the partition plan of a table."""

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.table import read_table
from crdbvec_pipelines.keyspace import KeyRange, PartitionKeyError, parse_partition_key
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.partitioning import PartitionPlan, plan_partitions

# SQLite, Dagster's storage without a server, accepts a limited number of variables in one statement.
_KEYS_PER_STATEMENT = 1_000


def sync_partitions(
    instance: dg.DagsterInstance, database: Database, spec: VectorColumn, names: AssetNames
) -> PartitionPlan:
    """Make the partition plan of a table, and make Dagster's partitions equal to it.

    Dagster keeps partitions in the order in which they were added, and ranges and backfills use that order. The order
    of the plan is the key order, and only the last range is ever replaced, so both orders stay the same.

    Raises:
        TableError: The table is missing or has no primary key.
    """
    table = read_table(database, spec.table)
    existing = instance.get_dynamic_partitions(names.partitions)
    plan = plan_partitions(TableKeys(database, table), spec.partitions, existing)
    for key in plan.removed:
        instance.delete_dynamic_partition(names.partitions, key)
    for start in range(0, len(plan.added), _KEYS_PER_STATEMENT):
        instance.add_dynamic_partitions(names.partitions, list(plan.added[start : start + _KEYS_PER_STATEMENT]))
    return plan


def key_range_or_none(key: str, table: TableName) -> KeyRange | None:
    """Return the key range of a partition key; None for a key, added by hand, that is not a key range of the table."""
    try:
        return parse_partition_key(key, table)
    except PartitionKeyError:
        return None
