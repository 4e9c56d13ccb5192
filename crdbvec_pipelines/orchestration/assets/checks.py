"""The checks of a vector column as Dagster runs them: on their own, over the whole table.

In a run over partitions the asset's op logs the results of its partitions, and Dagster skips this step.
"""

import random
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, open_existing_column
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.rows.health import oldest_pending_seconds
from crdbvec_pipelines.database.rows.lag import measure_lag
from crdbvec_pipelines.database.rows.range_state import RangeState, range_state
from crdbvec_pipelines.database.rows.row_errors import RowErrors
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import is_prepared
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.check_results import (
    DESCRIPTIONS,
    TARGET_LAG,
    check_names,
    evaluate,
    is_of_partitions,
    is_sampled,
    severity,
)
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.partitions.sync import key_range_or_none
from crdbvec_pipelines.orchestration.resources import background_database
from crdbvec_pipelines.refresh.input_sample import sample_column


def build_checks(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.AssetChecksDefinition:
    """Return the asset checks of a vector column, as one step that reads the table once."""
    asset = dg.AssetKey(names.asset)

    @dg.multi_asset_check(
        name=names.check_op("checks"),
        specs=[
            dg.AssetCheckSpec(name, asset=asset, description=DESCRIPTIONS[name], blocking=False)
            for name in check_names(spec)
        ],
        can_subset=True,
        required_resource_keys={names.resource},
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with as_dagster_failures():
            database = background_database(context.resources, names.resource, spec)
            present = present_column(database, spec)
            encoder = registry.encoder_of(present)
            column = open_existing_column(database, present, encoder)
            if not is_prepared(column):
                raise TableError(
                    f"{spec.table} is not prepared for the vector column {spec.output}. "
                    f"Launch the job {names.job('sync_partitions')}."
                )
            keys = context.instance.get_dynamic_partitions(names.partitions)
            ranges = _ranges(spec, keys, selected)
            read = ranges if any(map(is_of_partitions, selected)) else []
            state = sum((range_state(column, part, "follower_read") for part in read), RangeState())
            known = [part for key in keys if (part := key_range_or_none(key, spec.table))]
            needs_sample = any(map(is_sampled, selected))
            sample = sample_column(column, encoder, known or [KeyRange()]) if needs_sample else None
            lag = measure_lag(column, with_edited=True) if TARGET_LAG in selected else None
            extra = {"coverage": _age(column), "row_errors": RowErrors(column).count().by_status}
        for name in sorted(selected):
            passed, metadata = evaluate(name, spec, state, sample, lag)
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=name,
                passed=passed,
                severity=severity(name, spec),
                metadata={**metadata, **extra.get(name, {})},
            )

    return checks


def _age(column: BoundColumn) -> Mapping[str, float]:
    age = oldest_pending_seconds(column)
    return {} if age is None else {"oldest_pending_seconds": round(age, 3)}


def _ranges(spec: VectorColumn, keys: Sequence[str], selected: set[str]) -> Sequence[KeyRange]:
    """Return the ranges to read: the whole table, or a sample of its partitions if only drift is selected."""
    sample = spec.checks.drift_partitions
    if selected != {"drift"} or sample is None:
        return [KeyRange()]
    known = [part for key in keys if (part := key_range_or_none(key, spec.table))]
    return random.sample(known, min(sample, len(known))) or [KeyRange()]
