"""The results of a vector column's checks, from the state of key ranges, and where they are logged.

After a run each partition has a result of its own for each check, and the check's latest result is that of all
partitions together, so that the asset's health is right whatever partition was evaluated last.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.range_state import RangeState
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.instance.dagster_internals import partitions_failing_check

Metadata = dict[str, int | float]

DESCRIPTIONS: Mapping[str, str] = {
    "coverage": "Whether enough of the rows with an input have a current vector.",
    "drift": "Whether the vectors match their inputs, which are hashed again; also finds edits that bypassed triggers.",
    "vector_health": "Whether all vectors have the model's dimension and a finite length above zero.",
    "row_errors": "Whether no row has failed; `crdbvec errors list` shows failed rows.",
}


def check_names(spec: VectorColumn) -> Sequence[str]:
    """Return the names of a column's checks; without fingerprints there is no drift check."""
    return [name for name in DESCRIPTIONS if name != "drift" or spec.fingerprint_column is not None]


def evaluate(name: str, spec: VectorColumn, state: RangeState) -> tuple[bool, Metadata]:
    """Return whether a check passes for the rows of a state, and its metadata."""
    return _CHECKS[name](spec, state)


def _coverage(spec: VectorColumn, state: RangeState) -> tuple[bool, Metadata]:
    return state.coverage >= spec.checks.coverage, {
        "share": round(state.coverage, 6),
        "rows": state.rows,
        "rows_embedded": state.current,
        "rows_pending": state.pending,
        "rows_blank": state.blank,
    }


def _drift(spec: VectorColumn, state: RangeState) -> tuple[bool, Metadata]:
    return state.drifted == 0, {"rows_drifted": state.drifted, "rows_hashed": state.vectors}


def _vector_health(spec: VectorColumn, state: RangeState) -> tuple[bool, Metadata]:
    metadata: Metadata = {
        "vectors": state.vectors,
        "wrong_dimension": state.wrong_dimension,
        "not_finite": state.not_finite,
        "zero": state.zero,
    }
    norms = {"smallest_norm": state.smallest_norm, "largest_norm": state.largest_norm}
    # Dagster stores metadata as JSON, which has neither NaN nor infinity; `not_finite` counts such vectors.
    metadata |= {name: round(norm, 6) for name, norm in norms.items() if norm is not None and math.isfinite(norm)}
    return state.unusable == 0, metadata


def _row_errors(spec: VectorColumn, state: RangeState) -> tuple[bool, Metadata]:
    return state.failed == 0, {"rows_failed": state.failed, "rows_deferred": state.deferred}


_CHECKS: Mapping[str, Callable[[VectorColumn, RangeState], tuple[bool, Metadata]]] = {
    "coverage": _coverage,
    "drift": _drift,
    "vector_health": _vector_health,
    "row_errors": _row_errors,
}


def log_partition_checks(
    context: dg.AssetExecutionContext, names: AssetNames, spec: VectorColumn, partition: str, state: RangeState
) -> None:
    """Log the result of each check for one partition."""
    for name in check_names(spec):
        passed, metadata = evaluate(name, spec, state)
        context.log_event(_evaluation(names, name, passed, metadata, partition))


def log_run_checks(
    context: dg.AssetExecutionContext, names: AssetNames, column: BoundColumn, state: RangeState
) -> None:
    """Log the result of each check for all partitions together, at the end of a run.

    The numbers are those of the run's partitions. Whether the check passes depends on the last result of every
    partition, which Dagster has stored, so the table is not read.
    """
    present = frozenset(context.instance.get_dynamic_partitions(names.partitions))
    for name in check_names(column.spec):
        key = dg.AssetCheckKey(dg.AssetKey(names.asset), name)
        failing = partitions_failing_check(context.instance, key) & present
        _, metadata = evaluate(name, column.spec, state)
        evaluation = _evaluation(names, name, not failing, {**metadata, "partitions_failing": len(failing)})
        # The first resolves what Dagster planned for the run; the second is newer than the partitions' results, so that
        # the check shows it.
        context.log_event(evaluation)
        context.instance.report_runless_asset_event(evaluation)


def report_checks(
    instance: dg.DagsterInstance, names: AssetNames, spec: VectorColumn, state: RangeState, extra: Metadata
) -> Mapping[str, bool]:
    """Report the result of each check for the whole table, and return which passed."""
    results = {}
    for name in check_names(spec):
        passed, metadata = evaluate(name, spec, state)
        instance.report_runless_asset_event(
            _evaluation(names, name, passed, {**metadata, **(extra if name == "coverage" else {})})
        )
        results[name] = passed
    return results


def _evaluation(
    names: AssetNames, name: str, passed: bool, metadata: Metadata, partition: str | None = None
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(names.asset),
        check_name=name,
        passed=passed,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.WARN,
        partition=partition,
    )
