"""The assets: a source table, and the vector column of it, whose one op embeds the pending rows of its partitions.

A run covers one or many partitions in one process. The work itself is in `partition_run` and in `refresh`.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from crdbvec_pipelines.config import MAX_BATCH_SIZE, MAX_WORKERS, VectorColumn
from crdbvec_pipelines.database.chunks.table import chunk_table_name
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import parse_partition_key
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.metadata import definition_metadata
from crdbvec_pipelines.orchestration.assets.partition_run import PartitionRun
from crdbvec_pipelines.orchestration.failures import as_dagster_failures, retrying
from crdbvec_pipelines.orchestration.instance.connections import keep_connections_open
from crdbvec_pipelines.orchestration.resources import background_database
from crdbvec_pipelines.orchestration.run_config import checked_at_launch
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.parallel import open_batch_encoder
from crdbvec_pipelines.search.contact_sheet import check_contact_sheet
from crdbvec_pipelines.telemetry.runs import run_metrics
from crdbvec_pipelines.telemetry.tracing import traced_run

# On a run of the in-process job: batches are encoded in the process of the run, whatever `executor` says.
IN_PROCESS_TAG = "crdbvec/in_process"

_RETRIES = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


class RefreshConfig(dg.Config):
    """The configuration of one run; each value defaults to that of crdbvec.yaml."""

    batch_size: int | None = Field(default=None, ge=1, le=MAX_BATCH_SIZE)
    workers: int | None = Field(default=None, ge=1, le=MAX_WORKERS)
    num_batches: int | None = Field(default=None, ge=1)


def _refresh_config(spec: VectorColumn) -> type[dg.Config]:
    """Return the configuration as the launchpad shows it, with the defaults of the column and all bounds."""

    class ColumnRefreshConfig(RefreshConfig):
        batch_size: int | None = Field(
            default=spec.batch_size,
            ge=1,
            le=MAX_BATCH_SIZE,
            description=f"Rows that are read, encoded and written together; 1 to {MAX_BATCH_SIZE:,}, "
            f"by default {spec.batch_size:,}.",
        )
        workers: int | None = Field(
            default=spec.workers,
            ge=1,
            le=MAX_WORKERS,
            description=f"Batches that are encoded at the same time; 1 to {MAX_WORKERS}, by default {spec.workers}.",
        )
        num_batches: int | None = Field(
            default=None,
            ge=1,
            description="Stop after this many batches; 1 or more, by default no limit. Partitions with pending rows "
            "stay incomplete.",
        )

    return ColumnRefreshConfig


def build_source(spec: VectorColumn, names: AssetNames) -> dg.AssetSpec:
    """Return the source table as an external asset, for the lineage."""
    return dg.AssetSpec(
        key=dg.AssetKey(names.source),
        description=f"The table {spec.table}, whose rows are embedded.",
        group_name=names.group,
        kinds={"sql", "table"},
        owners=spec.owners,
        tags=spec.tags,
        metadata={"dagster/table_name": str(spec.table)},
    )


def _described(spec: VectorColumn) -> str:
    """Return what the asset is: a column of the table, or the chunk table of it."""
    if spec.chunking is None:
        return f"{spec.output} of {spec.table}"
    return f"The chunks of {spec.table} in {chunk_table_name(spec)}"


def build_vector_asset(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.AssetsDefinition:
    """Return the vector column as a partitioned asset.

    Its op logs the materialization of each partition itself and yields no output: an output would materialize all
    partitions of the run at its end.
    """

    # The name of an asset's op, which run configs contain, is made of the parts of its key.
    @dg.op(
        name="__".join(names.asset),
        pool=spec.pool,
        ins={"source": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing, is_required=False),
        required_resource_keys={names.resource},
    )
    def vector_column(context: dg.AssetExecutionContext, config: RefreshConfig) -> Iterator[Any]:
        with (
            retrying(_RETRIES, context.retry_number),
            as_dagster_failures(),
            traced_run(spec, "partitions", context.run.run_id),
        ):
            ranges = {key: parse_partition_key(key, spec.table) for key in context.partition_keys}
            keep_connections_open(context.instance)
            database = background_database(context.resources, names.resource, spec)
            present = present_column(database, spec)
            encoder = registry.encoder_of(present)
            encoder.load_in_background()
            if present.contact_sheet:
                # Before the schema is changed.
                check_contact_sheet(open_column(database, present, encoder), encoder)
            column = prepare_column(database, present, encoder)
            for key_range in ranges.values():
                column.table.check_range(key_range)
            options = replace(
                options_for(spec, batch_size=config.batch_size, workers=config.workers),
                max_batches=config.num_batches,
            )
            executor = "in_process" if IN_PROCESS_TAG in context.run.tags else spec.executor
            with (
                run_metrics(spec) as metrics,
                open_batch_encoder(registry, present, executor, options.workers) as batch_encoder,
            ):
                pictures = encoder.pictures if present.contact_sheet else None
                PartitionRun(context, names, column, batch_encoder, ranges, options, encoder, metrics, pictures).run()
        yield from ()

    source_text = spec.template or ", ".join(spec.input_columns)
    with warnings.catch_warnings():
        # The backfill policy is a beta feature of Dagster, which warns of it at every load.
        warnings.simplefilter("ignore", dg.BetaWarning)
        asset = dg.AssetsDefinition.from_op(
            checked_at_launch(vector_column, _refresh_config(spec)),
            keys_by_input_name={"source": dg.AssetKey(names.source)},
            keys_by_output_name={"result": dg.AssetKey(names.asset)},
            partitions_def=dg.DynamicPartitionsDefinition(name=names.partitions),
            backfill_policy=dg.BackfillPolicy.multi_run(spec.partitions.max_per_run),
        )

    def describe(found: dg.AssetSpec) -> dg.AssetSpec:
        return found.replace_attributes(
            description=f"{_described(spec)}: {source_text} by {spec.model}. "
            f"While it has no partitions, launch the job {names.job('sync_partitions')} first.",
            code_version=names.code_version,
            group_name=names.group,
            kinds={"sql", "python"},
            owners=list(spec.owners),
            tags=dict(spec.tags),
            metadata=definition_metadata(spec, names),
        )

    return asset.map_asset_specs(describe)
