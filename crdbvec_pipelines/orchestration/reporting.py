"""Telling Dagster of work that was done outside its runs: `crdbvec embed --follow` marks the partitions it touched."""

import time
from collections import Counter

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.following import Round
from crdbvec_pipelines.keyspace import KeyRange, in_key_order, partition_key
from crdbvec_pipelines.orchestration.metadata import follow_metadata
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.orchestration.partitions import readable_range
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
        self._reported_at = -_SECONDS_BETWEEN_REPORTS

    def ranges(self) -> list[KeyRange]:
        """The column's partitions in key order; none where they do not cover the table."""
        present = self._instance.get_dynamic_partitions(self._names.partitions)
        readable = (readable_range(key, self._spec.table) for key in present)
        return in_key_order(key_range for key_range in readable if key_range is not None) or []

    def add(self, done: Round) -> bool:
        """Notes what a round did, and reports it when it is time; returns whether it did."""
        self._touched += done.touched
        self._report += done.report
        if time.monotonic() - self._reported_at < _SECONDS_BETWEEN_REPORTS:
            return False
        self.flush()
        return True

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
