"""Telling Dagster of work that was done outside its runs: `crdbvec embed --follow` marks the partitions it touched."""

import time
from collections import Counter

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.following import Round
from crdbvec_pipelines.keyspace import KeyRange, PartitionKeyError, in_key_order, parse_partition_key, partition_key
from crdbvec_pipelines.orchestration.metadata import follow_metadata
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.refresh import RefreshReport

# Each report is a row of Dagster's event log for each touched partition.
_SECONDS_BETWEEN_REPORTS = 10.0


class MaterializationReporter:
    """Reports the partitions of one vector column that were touched, a few times a minute at most."""

    def __init__(self, instance: dg.DagsterInstance, spec: VectorColumn, names: Names) -> None:
        self._instance = instance
        self._spec = spec
        self._names = names
        self._touched: Counter[KeyRange] = Counter()
        self._report = RefreshReport()
        self._reported_at = 0.0

    def ranges(self) -> list[KeyRange]:
        """The column's partitions in key order; none where they do not cover the table."""
        found = []
        for key in self._instance.get_dynamic_partitions(self._names.partitions):
            try:
                found.append(parse_partition_key(key, self._spec.table))
            except PartitionKeyError:
                return []
        return in_key_order(found) or []

    def add(self, done: Round) -> None:
        """Notes what a round did, and reports it when it is time."""
        self._touched += done.touched
        self._report += done.report
        if time.monotonic() - self._reported_at >= _SECONDS_BETWEEN_REPORTS:
            self.flush()

    def flush(self) -> None:
        """Reports what has been noted."""
        for touched, count in self._touched.items():
            self._instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key=dg.AssetKey(self._names.asset),
                    partition=partition_key(self._spec.table, touched),
                    metadata=follow_metadata(self._report, count),
                )
            )
        self._touched, self._report = Counter(), RefreshReport()
        self._reported_at = time.monotonic()
