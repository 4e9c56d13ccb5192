"""The checks of a vector column: complete, true to its texts, healthy, without failed rows. They warn, never block."""

import random
from collections.abc import Mapping, Sequence

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.health import VectorHealth
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.orchestration.assets import open_rows
from crdbvec_pipelines.orchestration.failures import as_failures
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.orchestration.partitions import readable_range
from crdbvec_pipelines.orchestration.resources import CockroachResource


def build_checks(spec: VectorColumn, names: Names, registry: ModelRegistry) -> list[dg.AssetChecksDefinition]:
    """The asset checks of a vector column, as steps that run after a materialization or alone."""
    return [_build_check(spec, names, registry, check) for check in check_names(spec)]


def check_names(spec: VectorColumn) -> Sequence[str]:
    """The checks a vector column has: without fingerprints nothing can be said of drift."""
    return [name for name in _CHECKS if name != "drift" or spec.fingerprint_column is not None]


def evaluate(name: str, rows: VectorRows, health: VectorHealth, partition_keys: Sequence[str]) -> dg.AssetCheckResult:
    """Evaluates one check now."""
    return _CHECKS[name](rows, health, partition_keys)


def _build_check(spec: VectorColumn, names: Names, registry: ModelRegistry, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=dg.AssetKey(names.asset), name=name, description=_CHECKS[name].__doc__, blocking=False)
    def check(context: dg.AssetCheckExecutionContext, cockroach: CockroachResource) -> dg.AssetCheckResult:
        with as_failures():
            encoder = registry.load(spec.model)
            rows = open_rows(cockroach, spec, encoder)
            health = VectorHealth(cockroach.database, rows.table, spec, encoder.model_id, encoder.dim)
            return evaluate(name, rows, health, context.instance.get_dynamic_partitions(names.partitions))

    return check


def _coverage(rows: VectorRows, health: VectorHealth, _: Sequence[str]) -> dg.AssetCheckResult:
    """Whether enough of the rows that have an input have a fresh vector."""
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
    """Whether vectors still match their inputs, found by hashing these again, also where triggers were bypassed."""
    sample = rows.spec.checks.drift_partitions
    ranges = [KeyRange()]
    if sample is not None and partition_keys:
        known = [part for key in partition_keys if (part := readable_range(key, rows.spec.table))]
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
    """Whether any row could not be embedded; `crdbvec errors list` shows them."""
    counts = rows.errors.count()
    return _result(counts.total == 0, {"rows_failed": counts.total, "waiting": counts.waiting, **counts.by_class})


_CHECKS = {"coverage": _coverage, "drift": _drift, "vector_health": _vector_health, "row_errors": _row_errors}


def _result(passed: bool, metadata: Mapping[str, int | float]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)
