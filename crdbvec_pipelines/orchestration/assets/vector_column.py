"""The assets: a source table, and the vector column, which a graph of three ops fills.

    plan_slices -> encode_slice (one step per slice; with the multiprocess executor, one process) -> finish

The steps pass key ranges and counts to each other, never rows or vectors.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import MAX_BATCH_SIZE, MAX_WORKERS, VectorColumn
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange, parse_partition_key
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.metadata import column_schema, definition_metadata, run_metadata
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.progress import log_progress
from crdbvec_pipelines.orchestration.resources import CockroachResource
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.report import RefreshReport

# The tag of runs of the in-process job. They use one slice, because their steps run one after the other.
IN_PROCESS_TAG = "crdbvec/in_process"

_RETRIES = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


class RefreshConfig(dg.Config):
    """The configuration of one run; each value defaults to that of crdbvec.yaml."""

    batch_size: int | None = Field(
        default=None, ge=1, le=MAX_BATCH_SIZE, description="Rows to read, encode and write together."
    )
    workers: int | None = Field(default=None, ge=1, le=MAX_WORKERS, description="Slices to encode at the same time.")
    num_batches: int | None = Field(
        default=None, ge=1, description="Stop after this many batches; no limit if not given."
    )


@dataclass(frozen=True)
class Slice:
    """The part of a key range that one step embeds."""

    key_range: KeyRange
    pending: int
    workers: int
    threads: int | None
    max_batches: int | None


def build_source(spec: VectorColumn, names: AssetNames) -> dg.AssetSpec:
    """Return the source table as an external asset, for the lineage."""
    return dg.AssetSpec(
        key=dg.AssetKey(names.source),
        description=f"The table {spec.table}, whose rows are embedded.",
        group_name=names.group,
        kinds={"sql", "table"},
        metadata={"dagster/table_name": str(spec.table)},
    )


def build_vector_asset(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.AssetsDefinition:
    """Return the vector column as a partitioned asset."""

    @dg.op(
        name=f"{names.stem}__plan_slices",
        ins={"source": dg.In(dg.Nothing)},
        out=dg.DynamicOut(Slice),
        retry_policy=_RETRIES,
    )
    def plan_slices(
        context: dg.AssetExecutionContext, config: RefreshConfig, cockroach: CockroachResource
    ) -> Iterator[dg.DynamicOutput[Slice]]:
        """Prepare the table, and split the partition into slices with equal numbers of pending rows."""
        with as_dagster_failures():
            key_range = parse_partition_key(context.partition_key, spec.table)
            rows = open_rows(cockroach, spec, registry.load(spec.model))
            rows.column.table.check_range(key_range)
            workers = config.workers or spec.workers
            in_process = IN_PROCESS_TAG in context.run.tags
            pending, ranges = rows.split(key_range, 1 if in_process else workers)
        context.log.info(f"{pending:,} pending rows in {context.partition_key}, {len(ranges)} slices")
        quotas = _share(config.num_batches, len(ranges))
        for number, (part, quota) in enumerate(zip(ranges, quotas, strict=True)):
            if quota == 0:
                continue
            work = Slice(
                part,
                pending // len(ranges),
                workers if in_process else 1,
                None if in_process else max(1, (os.cpu_count() or 1) // len(ranges)),
                quota,
            )
            yield dg.DynamicOutput(work, mapping_key=f"slice_{number}")

    @dg.op(name=f"{names.stem}__encode_slice", retry_policy=_RETRIES)
    def encode_slice(
        context: dg.AssetExecutionContext, config: RefreshConfig, cockroach: CockroachResource, work: Slice
    ) -> RefreshReport:
        """Embed the pending rows of one slice."""
        with as_dagster_failures():
            encoder = registry.load(spec.model, work.threads)
            encoder.load_in_background()
            options = replace(
                options_for(spec, batch_size=config.batch_size, workers=work.workers),
                max_batches=work.max_batches,
                on_batch=log_progress(context, str(spec), work.pending),
            )
            return refresh(open_rows(cockroach, spec, encoder), encoder, work.key_range, options)

    @dg.op(name=f"{names.stem}__finish", retry_policy=_RETRIES)
    def finish(
        context: dg.AssetExecutionContext, cockroach: CockroachResource, reports: list[RefreshReport]
    ) -> dg.MaterializeResult[Any]:
        """Add the reports of the slices, and count the rows of the partition."""
        with as_dagster_failures():
            encoder = registry.load(spec.model)
            rows = open_rows(cockroach, spec, encoder)
            key_range = parse_partition_key(context.partition_key, spec.table)
            # A partition without pending rows has no slice, but may have rows whose input has been removed.
            cleared = sum(rows.clear(key_range, pass_) for pass_ in rows.all_passes)
            report = sum(reports, RefreshReport(rows_cleared=cleared))
            counts = rows.count(key_range)
            metadata = run_metadata(report, counts)
        return dg.MaterializeResult(
            metadata={**metadata, "dagster/column_schema": column_schema(spec, encoder.dim)},
        )

    @dg.config_mapping
    def one_config(val: RefreshConfig) -> Mapping[str, object]:
        given = {key: value for key, value in val.model_dump().items() if value is not None}
        return {plan_slices.name: {"config": given}, encode_slice.name: {"config": given}}

    @dg.graph_asset(
        key=dg.AssetKey(names.asset),
        partitions_def=dg.DynamicPartitionsDefinition(name=names.partitions),
        ins={"source": dg.AssetIn(key=dg.AssetKey(names.source), dagster_type=dg.Nothing)},
        config=one_config,
        description=f"{spec.output} of {spec.table}: {spec.template or ', '.join(spec.input_columns)} by {spec.model}.",
        group_name=names.group,
        kinds={"sql", "python"},
        metadata=definition_metadata(spec, names),
    )
    def vector_column(source: Any) -> Any:
        return finish(plan_slices(source).map(encode_slice).collect())

    return vector_column


def open_rows(cockroach: CockroachResource, spec: VectorColumn, encoder: Encoder) -> VectorRows:
    """Prepare the table, and return the rows of the vector column."""
    return VectorRows(prepare_column(cockroach.database, spec, encoder))


def _share(total: int | None, parts: int) -> list[int | None]:
    """Return the maximum number of batches of each slice; None for all of them if there is no limit."""
    if total is None:
        return [None] * parts
    return [total // parts + (number < total % parts) for number in range(parts)]
