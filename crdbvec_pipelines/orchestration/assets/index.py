"""The vector index as an asset downstream of its vector column, and the checks that it is used and accurate."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import IndexSpec, VectorColumn
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn, open_column, open_existing_column
from crdbvec_pipelines.database.index.statements import unsupported_options
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.resources import background_database
from crdbvec_pipelines.search.index_build import (
    CoverageTooLow,
    build_text_index_when_covered,
    build_when_covered,
)
from crdbvec_pipelines.search.index_use import read_index_use
from crdbvec_pipelines.search.plot import recall_plot
from crdbvec_pipelines.search.recall import Measurement, measure_recall
from crdbvec_pipelines.telemetry.runs import run_metrics

_CheckFunction = Callable[..., Iterator[dg.AssetCheckResult]]

CHECK_DESCRIPTIONS: Mapping[str, str] = {
    "index_used": "Whether the server uses the vector index for searches of this role, according to EXPLAIN.",
    "recall_at_k": "Whether the index finds the rows that an exact search finds, for queries made from the table.",
}

_LOG_INTERVAL_SECONDS = 15.0
# EXPLAIN of a few searches shows whether the index is used; each costs one statement.
_SAMPLED_SEARCHES = 3

_ATTEMPTS_CRON = "*/15 * * * *"
BUILT_ONCE = (
    dg.AutomationCondition.cron_tick_passed(_ATTEMPTS_CRON)
    & dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.in_progress()
).with_label("built once, after coverage")
"""Tries the build every 15 minutes until the index is there, and never again: the database keeps it up to date.

Dagster knows which partitions are materialized, and not what share of the rows that is, so the run itself compares the
coverage with `index.min_coverage`.
"""
_AUTOMATION_TAG = "dagster/from_automation_condition"


class IndexConfig(dg.Config):
    """The configuration of one run."""

    replace: bool = Field(
        default=False,
        description="Drop an index that differs from crdbvec.yaml, and build it again; by default the run fails.",
    )
    predict: bool = Field(
        default=False,
        description="First predict CockroachDB's index on a sample of the vectors, also if they are in PostgreSQL: "
        "size, recall and work, with a plot. Takes about a minute.",
    )


def build_index_definitions(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.Definitions:
    """Return the index asset of a vector column and its checks; no definitions if the entry has no `index`."""
    if spec.index is None:
        return dg.Definitions()
    asset = _index_asset(spec, names, registry)
    return dg.Definitions(
        assets=[asset], asset_checks=[_index_used(spec, names, registry), _recall(spec, names, registry, spec.index)]
    )


def _index_asset(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey(names.index),
        # The database updates the index itself, so that no later materialization of a partition makes it out of date. A
        # dependency on no partition keeps the lineage only.
        deps=[
            dg.AssetDep(
                dg.AssetKey(names.asset), partition_mapping=dg.SpecificPartitionsPartitionMapping(partition_keys=[])
            )
        ],
        code_version=names.code_version,
        group_name=names.group,
        kinds={"sql"},
        owners=spec.owners,
        tags=spec.tags,
        metadata={"dagster/table_name": str(spec.table)},
        description=f"The vector index over {spec.output} of {spec.table}, built once enough rows are embedded.",
        required_resource_keys={names.resource},
        pool=spec.pool,
        op_tags={"crdbvec/vector_column": names.stem},
        automation_condition=BUILT_ONCE,
        output_required=False,
    )
    def vector_index(context: dg.AssetExecutionContext, config: IndexConfig) -> Iterator[dg.MaterializeResult[Any]]:
        with as_dagster_failures():
            database = background_database(context.resources, names.resource, spec)
            present = present_column(database, spec)
            column = open_column(database, present, registry.encoder_of(present))
            sentence = unsupported_options(database.dialect, spec)
            if sentence:
                context.log.warning(sentence)
            prediction = {}
            if config.predict:
                # Imported here, because only a prediction needs the simulator.
                from crdbvec_pipelines.orchestration.assets.index_prediction import prediction_metadata

                prediction = prediction_metadata(column)
            started = time.monotonic()
            try:
                built = build_when_covered(column, replace=config.replace, on_progress=_logged(context, spec))
            except CoverageTooLow as error:
                if _AUTOMATION_TAG not in context.run.tags:
                    raise
                context.log.info(f"The index is not built yet. {error}")
                return
            text_index: dict[str, str | int] = {}
            if spec.text_index is not None:
                is_text_built = build_text_index_when_covered(column)
                text_index = {"text_index": TextIndex(column).name or "", "text_index_built": int(is_text_built)}
            index = VectorIndex(vectors_of(column))
            sizes = index.sizes()
        yield dg.MaterializeResult(
            metadata={
                "built": int(built),
                "seconds": round(time.monotonic() - started, 3),
                **({} if sizes.index_bytes is None else {"dagster/size_bytes": sizes.index_bytes}),
                **({} if sizes.table_bytes is None else {"table_bytes": sizes.table_bytes}),
                "vectors": sizes.vectors,
                "full_precision_bytes": sizes.full_precision_bytes,
                "index": index.name,
                "metric": column.metric,
                "prefix": ", ".join(index.configured.prefix),
                **text_index,
                **prediction,
            }
        )

    return vector_index


def _check(name: str, names: AssetNames) -> Callable[[_CheckFunction], dg.AssetChecksDefinition]:
    """Return the decorator of one check; `asset_check` would derive the name of the op from the whole asset key."""
    check: Callable[[_CheckFunction], dg.AssetChecksDefinition] = dg.multi_asset_check(
        name=names.check_op(name),
        specs=[dg.AssetCheckSpec(name, asset=dg.AssetKey(names.index), description=CHECK_DESCRIPTIONS[name])],
        required_resource_keys={names.resource},
    )
    return check


def _index_used(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.AssetChecksDefinition:
    @_check("index_used", names)
    def index_used(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with as_dagster_failures():
            column = _open_present(context.resources, spec, names, registry)
            use = read_index_use(column, _SAMPLED_SEARCHES)
        shown = next(iter(use.without_index + use.planned), None)
        yield dg.AssetCheckResult(
            passed=use.is_used,
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join([f"{use.searches_by_index} of {use.searches} searches use the index.", *use.notes]),
            metadata={
                "searches_planned": use.searches,
                "searches_by_index": use.searches_by_index,
                **{f"used by {form}": is_used for form, is_used in use.by_form.items()},
                "plan": dg.MetadataValue.md(
                    f"```\n{chr(10).join(shown.plan) if shown else 'no row has a vector'}\n```"
                ),
            },
        )

    return index_used


def _recall(
    spec: VectorColumn, names: AssetNames, registry: ModelRegistry, index: IndexSpec
) -> dg.AssetChecksDefinition:
    @_check("recall_at_k", names)
    def recall_at_k(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with as_dagster_failures():
            curve = measure_recall(_open_present(context.resources, spec, names, registry))
        measured = curve.at(index.effort)
        with run_metrics(spec) as metrics:
            if metrics is not None and measured is not None:
                metrics.set(spec, "crdbvec_recall", measured.recall)
        smallest = curve.smallest_effort_with_recall(index.wanted_recall)
        png = base64.b64encode(recall_plot(curve, str(spec), index.wanted_recall)).decode()
        yield dg.AssetCheckResult(
            passed=measured is not None and measured.recall >= index.wanted_recall and measured.used_index,
            severity=dg.AssetCheckSeverity.WARN,
            description=curve.verdict(index.effort, index.wanted_recall),
            metadata={
                "k": curve.k,
                "queries": curve.queries,
                "recall": round(measured.recall, 4) if measured else 0.0,
                "worst_query": round(measured.worst_recall, 4) if measured else 0.0,
                "p50_ms": round(measured.p50_ms, 3) if measured else 0.0,
                "p95_ms": round(measured.p95_ms, 3) if measured else 0.0,
                "exact_p50_ms": round(curve.exact_p50_ms, 3),
                "smallest_effort": smallest.effort if smallest else -1,
                "measurements": dg.MetadataValue.table(
                    [dg.TableRecord(_rounded(asdict(each))) for each in curve.measurements],
                    schema=dg.TableSchema([dg.TableColumn(field.name) for field in fields(Measurement)]),
                ),
                "curve": dg.MetadataValue.md(f"![recall over latency](data:image/png;base64,{png})"),
            },
        )

    return recall_at_k


def _open_present(resources: object, spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> BoundColumn:
    """Open the vector column with the model whose vectors it has now, which a migration changes."""
    database = background_database(resources, names.resource, spec)
    present = present_column(database, spec)
    return open_existing_column(database, present, registry.encoder_of(present))


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def _logged(context: dg.AssetExecutionContext, spec: VectorColumn) -> Any:
    last = 0.0

    def on_progress(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LOG_INTERVAL_SECONDS:
            last = now
            context.log.info(f"the index over {spec} is {share:.0%} built")

    return on_progress
