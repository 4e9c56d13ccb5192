"""Keeps Dagster's dynamic partitions in step with the table's plan."""

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import read_table
from crdbvec_pipelines.database.keys import TableKeys
from crdbvec_pipelines.keyspace import KeyRange, PartitionKeyError, parse_partition_key
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.partitioning import PartitionPlan, plan_partitions

# SQLite, Dagster's storage without a server, takes a limited number of variables in one statement.
_KEYS_AT_ONCE = 1_000


def sync_partitions(
    instance: dg.DagsterInstance, database: Database, spec: VectorColumn, names: Names
) -> PartitionPlan:
    """Plans the table's partitions and makes Dagster's equal to the plan.

    Dagster keeps partitions in the order in which they were added, and ranges and backfills go by that order; the
    plan's order is the key order, and only the tail is ever replaced, so both stay the same.

    Raises:
        TableError: the table is missing or has no key.
    """
    table = read_table(database, spec.table)
    existing = instance.get_dynamic_partitions(names.partitions)
    plan = plan_partitions(TableKeys(database, table), spec.partitions, existing)
    for key in plan.removed:
        instance.delete_dynamic_partition(names.partitions, key)
    for start in range(0, len(plan.added), _KEYS_AT_ONCE):
        instance.add_dynamic_partitions(names.partitions, list(plan.added[start : start + _KEYS_AT_ONCE]))
    return plan


def readable_range(key: str, table: TableName) -> KeyRange | None:
    """The key range of a partition; None for a key that somebody added by hand and that means none."""
    try:
        return parse_partition_key(key, table)
    except PartitionKeyError:
        return None
