"""Reporting work done outside of runs: `crdbvec embed --follow` marks the touched partitions as materialized."""

import time
from collections import Counter

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.keyspace import KeyRange, in_key_order
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.touched import TouchedPartitions
from crdbvec_pipelines.orchestration.partitions.sync import key_range_or_none
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.refresh.rounds import RoundResult

# Each report adds one row per touched partition to Dagster's event log.
_REPORT_INTERVAL_SECONDS = 10.0


class MaterializationReporter:
    """Reports the touched partitions of one vector column, at most once per interval."""

    def __init__(self, instance: dg.DagsterInstance, spec: VectorColumn, names: AssetNames) -> None:
        self._instance = instance
        self._spec = spec
        self._names = names
        self._touched: Counter[KeyRange] = Counter()
        self._report = RefreshReport()
        self._partitions: TouchedPartitions | None = None
        self._reported_at = -_REPORT_INTERVAL_SECONDS

    def follow(self, column: BoundColumn) -> None:
        """Set the column whose touched partitions are reported, after it has been prepared."""
        self._partitions = TouchedPartitions(self._instance, self._names, column)

    def ranges(self) -> list[KeyRange]:
        """Return the column's partitions in key order; an empty list if they do not cover the table."""
        present = self._instance.get_dynamic_partitions(self._names.partitions)
        readable = (key_range_or_none(key, self._spec.table) for key in present)
        return in_key_order(key_range for key_range in readable if key_range is not None) or []

    def add(self, done: RoundResult) -> bool:
        """Add what a round did, report it if the interval is over, and return whether it was reported."""
        self._touched += done.touched
        self._report += done.report
        if time.monotonic() - self._reported_at < _REPORT_INTERVAL_SECONDS:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Report what has been added since the last report."""
        if self._touched and self._partitions is not None:
            for event in self._partitions.materializations(self._report, self._touched):
                self._instance.report_runless_asset_event(event)
            self._partitions.report_checks()
        self._touched, self._report = Counter(), RefreshReport()
        self._reported_at = time.monotonic()
