"""The assets: a source table, and the vector column that a graph of three ops fills.

    plan_slices -> encode_slice (one step, and with the multiprocess executor one process, a slice) -> finish

Between the steps travel key ranges and counts, never rows or vectors.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange, parse_partition_key
from crdbvec_pipelines.orchestration.failures import as_failures
from crdbvec_pipelines.orchestration.metadata import column_schema, definition_metadata, run_metadata
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.orchestration.progress import log_progress
from crdbvec_pipelines.orchestration.resources import CockroachResource
from crdbvec_pipelines.refresh import RefreshReport, refresh

# On a run of the in-process twin job: one slice, since its steps would run one after the other anyway.
IN_PROCESS_TAG = "crdbvec/in_process"

_RETRIES = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


class RefreshConfig(dg.Config):
    """What one run may be told; each defaults to what crdbvec.yaml says."""

    batch_size: int | None = Field(default=None, ge=1, le=10_000, description="Rows of one read, encode and write.")
    workers: int | None = Field(default=None, ge=1, le=64, description="Slices that are encoded at once.")
    num_batches: int | None = Field(default=None, ge=1, description="Stop after so many batches; all if not given.")


@dataclass(frozen=True)
class Slice:
    """The part of a key range that one op works through."""

    key_range: KeyRange
    pending: int
    workers: int
    threads: int | None
    max_batches: int | None


def build_source(spec: VectorColumn, names: Names) -> dg.AssetSpec:
    """The source table as an external asset: somebody else fills it, and the lineage shows it."""
    return dg.AssetSpec(
        key=dg.AssetKey(names.source),
        description=f"The table {spec.table}, whose rows are embedded.",
        group_name=names.group,
        kinds={"cockroachdb", "table"},
        metadata={"dagster/table_name": str(spec.table)},
    )


def build_vector_asset(spec: VectorColumn, names: Names, registry: ModelRegistry) -> dg.AssetsDefinition:
    """The vector column as a partitioned asset."""

    @dg.op(
        name=f"{names.stem}__plan_slices",
        ins={"source": dg.In(dg.Nothing)},
        out=dg.DynamicOut(Slice),
        retry_policy=_RETRIES,
    )
    def plan_slices(
        context: dg.AssetExecutionContext, config: RefreshConfig, cockroach: CockroachResource
    ) -> Iterator[dg.DynamicOutput[Slice]]:
        """Makes the table ready, and cuts the partition into slices with equally many pending rows."""
        with as_failures():
            key_range = parse_partition_key(context.partition_key, spec.table)
            rows = open_rows(cockroach, spec, registry.load(spec.model))
            rows.table.check_range(key_range)
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
        """Embeds one slice's pending rows."""
        with as_failures():
            encoder = registry.load(spec.model, work.threads)
            encoder.warm_up_aside()
            return refresh(
                open_rows(cockroach, spec, encoder),
                encoder,
                work.key_range,
                batch_size=config.batch_size or spec.batch_size,
                workers=work.workers,
                max_batches=work.max_batches,
                on_batch=log_progress(context, str(spec), work.pending),
            )

    @dg.op(name=f"{names.stem}__finish", retry_policy=_RETRIES)
    def finish(
        context: dg.AssetExecutionContext, cockroach: CockroachResource, reports: list[RefreshReport]
    ) -> dg.MaterializeResult[Any]:
        """Sums up what the slices did, and counts what the partition now holds."""
        with as_failures():
            encoder = registry.load(spec.model)
            rows = open_rows(cockroach, spec, encoder)
            key_range = parse_partition_key(context.partition_key, spec.table)
            # Where nothing is pending there was no slice, and yet a text may be gone.
            cleared = sum(rows.clear(key_range, what) for what in rows.everything_pending)
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
        kinds={"cockroachdb", "python"},
        metadata=definition_metadata(spec, names),
    )
    def vector_column(source: Any) -> Any:
        return finish(plan_slices(source).map(encode_slice).collect())

    return vector_column


def open_rows(cockroach: CockroachResource, spec: VectorColumn, encoder: Encoder) -> VectorRows:
    """The vector column's rows, the table made ready for them first."""
    table = ensure_schema(cockroach.database, spec, encoder.dim, encoder.model_id)
    return VectorRows(cockroach.database, table, spec, encoder.model_id)


def _share(total: int | None, parts: int) -> list[int | None]:
    """A number of batches dealt out to the slices, none for any where there is no limit."""
    if total is None:
        return [None] * parts
    return [total // parts + (number < total % parts) for number in range(parts)]
