"""The results of a vector column's checks, from the state of key ranges, and where they are logged.

After a run each partition has a result of its own for each check, and the check's latest result is that of all
partitions together, so that the asset's health is right whatever partition was evaluated last.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.lag import Lag, measure_lag
from crdbvec_pipelines.database.rows.range_state import RangeState
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.instance.dagster_internals import last_check_result, partitions_failing_check
from crdbvec_pipelines.refresh.input_sample import InputSample

Metadata = dict[str, int | float]

TARGET_LAG = "target_lag"
"""The check of `target_lag`, which only a vector column with one has."""

DESCRIPTIONS: Mapping[str, str] = {
    "coverage": "Whether enough of the rows with an input have a current vector.",
    "drift": "Whether the vectors match their inputs, which are hashed again; also finds edits that bypassed triggers.",
    "vector_health": "Whether all vectors have the model's dimension and a finite length above zero.",
    "row_errors": "Whether no row has failed; `crdbvec errors list` shows failed rows.",
    "unreadable": "Whether the model knows the words of enough of the embedded texts; counted on a sample.",
    "truncated": "Whether enough of the embedded texts fit into the model's window; counted on a sample.",
    TARGET_LAG: "Whether no row has been pending for longer than `target_lag`.",
}


def check_names(spec: VectorColumn) -> Sequence[str]:
    """Return the names of a column's checks: `drift` only with fingerprints, `target_lag` only with a target lag."""
    absent = {
        *([] if spec.fingerprint_column is not None else ["drift"]),
        *([] if spec.target_lag is not None else [TARGET_LAG]),
    }
    return [name for name in DESCRIPTIONS if name not in absent]


def severity(name: str, spec: VectorColumn) -> dg.AssetCheckSeverity:
    """Return how serious it is that a check does not pass."""
    is_error = name == TARGET_LAG and spec.checks.target_lag_severity == "error"
    return dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN


def is_of_partitions(name: str) -> bool:
    """Return whether a check is evaluated on the state of key ranges, so that each partition has a result."""
    return name in _CHECKS


def is_sampled(name: str) -> bool:
    """Return whether a check is evaluated on a sample of the inputs, and not on the state of key ranges."""
    return name in _SAMPLE_CHECKS


def evaluate(
    name: str, spec: VectorColumn, state: RangeState, sample: InputSample | None = None, lag: Lag | None = None
) -> tuple[bool, Metadata]:
    """Return whether a check passes for the rows of a state, a sample of their inputs and the lag, and its metadata."""
    if name == TARGET_LAG:
        return evaluate_lag(spec, lag)
    return _SAMPLE_CHECKS[name](spec, sample) if is_sampled(name) else _CHECKS[name](spec, state)


def evaluate_lag(spec: VectorColumn, lag: Lag | None) -> tuple[bool, Metadata]:
    """Return whether the target lag is kept, and the metadata; it is kept if it was not measured."""
    if lag is None or spec.target_lag_seconds is None:
        return True, {}
    return lag.seconds <= spec.target_lag_seconds, {
        "lag_seconds": round(lag.seconds, 3),
        "target_lag_seconds": spec.target_lag_seconds,
        "p50_seconds": round(lag.percentile(0.5), 3),
        "p99_seconds": round(lag.percentile(0.99), 3),
        "measurements": len(lag.history),
    }


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


def _unreadable(spec: VectorColumn, sample: InputSample | None) -> tuple[bool, Metadata]:
    if sample is None or sample.unreadable is None or sample.unknown_tokens is None:
        return True, {"rows_sampled": 0}
    return sample.unreadable <= spec.checks.unreadable, {
        "rows_sampled": sample.rows,
        "share": round(sample.unreadable, 6),
        "unknown_tokens": round(sample.unknown_tokens, 6),
    }


def _truncated(spec: VectorColumn, sample: InputSample | None) -> tuple[bool, Metadata]:
    if sample is None or sample.truncated is None or sample.encoded_tokens is None:
        return True, {"rows_sampled": 0}
    return sample.truncated <= spec.checks.truncated, {
        "rows_sampled": sample.rows,
        "share": round(sample.truncated, 6),
        "tokens_per_row": round(sample.tokens, 1),
        "encoded_tokens_per_row": round(sample.encoded_tokens, 1),
    }


_CHECKS: Mapping[str, Callable[[VectorColumn, RangeState], tuple[bool, Metadata]]] = {
    "coverage": _coverage,
    "drift": _drift,
    "vector_health": _vector_health,
    "row_errors": _row_errors,
}
# Without numbers, because the model does not count tokens or is unavailable, a check passes and has sampled no row.
_SAMPLE_CHECKS: Mapping[str, Callable[[VectorColumn, InputSample | None], tuple[bool, Metadata]]] = {
    "unreadable": _unreadable,
    "truncated": _truncated,
}


def log_partition_checks(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    names: AssetNames,
    spec: VectorColumn,
    partition: str,
    state: RangeState,
) -> None:
    """Log the result of each check for one partition, except those that are evaluated on a sample of the whole run."""
    for name in check_names(spec):
        if not is_of_partitions(name):
            continue
        passed, metadata = evaluate(name, spec, state)
        # The annotation of an op's context lacks evaluations, which it stores like that of an asset.
        context.log_event(_evaluation(names, spec, name, passed, metadata, partition))  # type: ignore[arg-type]


def log_run_checks(
    context: dg.AssetExecutionContext,
    names: AssetNames,
    column: BoundColumn,
    state: RangeState,
    sample: InputSample | None,
) -> None:
    """Log the result of each check for all partitions together, at the end of a run.

    The numbers are those of the run's partitions. Whether the check passes depends on the last result of every
    partition, which Dagster has stored, so the table is not read; for the checks that are evaluated on a sample, it
    depends on the sample of the run's partitions.
    """
    present = frozenset(context.instance.get_dynamic_partitions(names.partitions))
    # The table is not scanned by the run of some partitions.
    lag = measure_lag(column, with_edited=False)
    for name in check_names(column.spec):
        key = dg.AssetCheckKey(dg.AssetKey(names.asset), name)
        passed, metadata = evaluate(name, column.spec, state, sample, lag)
        if is_of_partitions(name):
            failing = partitions_failing_check(context.instance, key) & present
            passed, metadata = not failing, {**metadata, "partitions_failing": len(failing)}
        evaluation = _evaluation(names, column.spec, name, passed, metadata)
        # The first resolves what Dagster planned for the run; the second is newer than the partitions' results, so that
        # the check shows it.
        context.log_event(evaluation)
        context.instance.report_runless_asset_event(evaluation)


def report_touched_checks(
    instance: dg.DagsterInstance, names: AssetNames, column: BoundColumn, states: Mapping[str, RangeState]
) -> None:
    """Report the result of each check after some rows of partitions were embedded.

    A check passes if the last result of every partition passed. One that is evaluated on a sample keeps its last
    result, of which Dagster shows nothing if it is older than the last materialization.

    Args:
        instance: The instance.
        names: The names of the column.
        column: The column.
        states: The rows of the touched partitions that were read, by partition key.
    """
    present = frozenset(instance.get_dynamic_partitions(names.partitions))
    total, spec = sum(states.values(), RangeState()), column.spec
    for name in check_names(spec):
        key = dg.AssetCheckKey(dg.AssetKey(names.asset), name)
        if name == TARGET_LAG:
            passed, metadata = evaluate_lag(spec, measure_lag(column, with_edited=False))
            instance.report_runless_asset_event(_evaluation(names, spec, name, passed, metadata))
            continue
        if is_sampled(name) or not states:
            last = last_check_result(instance, key)
            if last is not None:
                instance.report_runless_asset_event(_evaluation(names, spec, name, *last))
            continue
        now_failing = {partition for partition, state in states.items() if not evaluate(name, spec, state)[0]}
        failing = ((partitions_failing_check(instance, key) - states.keys()) | now_failing) & present
        metadata = {**evaluate(name, spec, total)[1], "partitions_failing": len(failing)}
        instance.report_runless_asset_event(_evaluation(names, spec, name, not failing, metadata))


def report_checks(
    instance: dg.DagsterInstance,
    names: AssetNames,
    spec: VectorColumn,
    state: RangeState,
    sample: InputSample | None,
    extra: Metadata,
    lag: Lag | None = None,
) -> Mapping[str, bool]:
    """Report the result of each check for the whole table, and return which passed."""
    results = {}
    for name in check_names(spec):
        passed, metadata = evaluate(name, spec, state, sample, lag)
        instance.report_runless_asset_event(
            _evaluation(names, spec, name, passed, {**metadata, **(extra if name == "coverage" else {})})
        )
        results[name] = passed
    return results


def lag_evaluation(names: AssetNames, spec: VectorColumn, lag: Lag) -> dg.AssetCheckEvaluation:
    """Return the result of the check of the target lag."""
    return _evaluation(names, spec, TARGET_LAG, *evaluate_lag(spec, lag))


def _evaluation(
    names: AssetNames,
    spec: VectorColumn,
    name: str,
    passed: bool,
    metadata: Mapping[str, int | float | dg.MetadataValue],
    partition: str | None = None,
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(names.asset),
        check_name=name,
        passed=passed,
        metadata=metadata,
        severity=severity(name, spec),
        partition=partition,
    )
