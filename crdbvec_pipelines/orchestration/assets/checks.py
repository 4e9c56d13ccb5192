"""The checks of a vector column: coverage, drift, vector health, failed rows. They warn and never block."""

import random
from collections.abc import Mapping, Sequence

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows.health import VectorHealth
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.vector_column import open_rows
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.partitions.sync import key_range_or_none
from crdbvec_pipelines.orchestration.resources import CockroachResource


def build_checks(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> list[dg.AssetChecksDefinition]:
    """Return the asset checks of a vector column, as steps that run after a materialization or on their own."""
    return [_build_check(spec, names, registry, check) for check in check_names(spec)]


def check_names(spec: VectorColumn) -> Sequence[str]:
    """Return the names of a column's checks; without fingerprints there is no drift check."""
    return [name for name in _CHECKS if name != "drift" or spec.fingerprint_column is not None]


def evaluate(name: str, rows: VectorRows, health: VectorHealth, partition_keys: Sequence[str]) -> dg.AssetCheckResult:
    """Evaluate one check now."""
    return _CHECKS[name](rows, health, partition_keys)


def _build_check(spec: VectorColumn, names: AssetNames, registry: ModelRegistry, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=dg.AssetKey(names.asset), name=name, description=_CHECKS[name].__doc__, blocking=False)
    def check(context: dg.AssetCheckExecutionContext, cockroach: CockroachResource) -> dg.AssetCheckResult:
        with as_dagster_failures():
            encoder = registry.load(spec.model)
            rows = open_rows(cockroach, spec, encoder)
            health = VectorHealth(rows.column)
            return evaluate(name, rows, health, context.instance.get_dynamic_partitions(names.partitions))

    return check


def _coverage(rows: VectorRows, health: VectorHealth, _: Sequence[str]) -> dg.AssetCheckResult:
    """Whether enough of the rows with an input have a current vector."""
    counts = rows.count(KeyRange())
    age = health.oldest_pending_seconds()
    return _result(
        counts.coverage >= rows.spec.checks.coverage,
        {
            "share": counts.coverage,
            "rows": counts.rows,
            "rows_embedded": counts.embedded,
            "rows_pending": counts.pending,
            "rows_blank": counts.blank,
            **({} if age is None else {"oldest_pending_seconds": age}),
        },
    )


def _drift(rows: VectorRows, health: VectorHealth, partition_keys: Sequence[str]) -> dg.AssetCheckResult:
    """Whether the vectors match their inputs, which are hashed again; this also finds edits that bypassed triggers."""
    sample = rows.spec.checks.drift_partitions
    ranges = [KeyRange()]
    if sample is not None and partition_keys:
        known = [part for key in partition_keys if (part := key_range_or_none(key, rows.spec.table))]
        ranges = random.sample(known, min(sample, len(known)))
    found = [health.count_drift(key_range) for key_range in ranges]
    drifted, hashed = sum(drift for drift, _ in found), sum(vectors for _, vectors in found)
    return _result(drifted == 0, {"rows_drifted": drifted, "rows_hashed": hashed})


def _vector_health(rows: VectorRows, health: VectorHealth, _: Sequence[str]) -> dg.AssetCheckResult:
    """Whether all vectors have the model's dimension and a finite length above zero."""
    found = health.measure()
    metadata: dict[str, int | float] = {
        "vectors": found.vectors,
        "wrong_dimension": found.wrong_dimension,
        "not_finite": found.not_finite,
        "zero": found.zero,
    }
    if found.smallest_norm is not None and found.largest_norm is not None:
        metadata |= {"smallest_norm": found.smallest_norm, "largest_norm": found.largest_norm}
    return _result(found.wrong_dimension + found.not_finite + found.zero == 0, metadata)


def _row_errors(rows: VectorRows, health: VectorHealth, _: Sequence[str]) -> dg.AssetCheckResult:
    """Whether no row has failed; `crdbvec errors list` shows failed rows."""
    counts = rows.errors.count()
    return _result(
        counts.total == 0, {"rows_failed": counts.total, "rows_deferred": counts.deferred, **counts.by_status}
    )


_CHECKS = {"coverage": _coverage, "drift": _drift, "vector_health": _vector_health, "row_errors": _row_errors}


def _result(passed: bool, metadata: Mapping[str, int | float]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)
