"""The metadata of a vector column in the UI: numbers that it plots, and facts about the table and the column."""

import hashlib
import json
from collections.abc import Mapping

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.range_state import RangeState
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.refresh.completion import Completion
from crdbvec_pipelines.refresh.report import RefreshReport

Metadata = dict[str, int | float]

STATE_NUMBERS = frozenset(
    {
        "rows_pending",
        "rows_failed_recorded",
        "rows_deferred",
        "rows_blank",
        "rows_arrived_meanwhile",
        "dagster/partition_row_count",
    }
)
"""The numbers of a materialization that describe the rows of its partition, and not what was done."""


def code_version(spec: VectorColumn, registry: ModelRegistry) -> str:
    """Return a version that changes with what determines the vectors: the model, its settings, and the input.

    It is made without the model, which is not imported when definitions load.
    """
    settings = registry.specification.settings.get(spec.model, {})
    source = spec.template or list(spec.input_columns)
    text = json.dumps([spec.model, settings, source, spec.output], sort_keys=True, default=str)
    return f"{spec.model}-{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8]}"


def definition_metadata(spec: VectorColumn, names: AssetNames) -> Mapping[str, str | dg.TableColumnLineage]:
    """Return the metadata of the definition, which needs no run."""
    return {
        "dagster/table_name": str(spec.table),
        "model": spec.model,
        "input": spec.template or ", ".join(spec.input_columns),
        "output": spec.output,
        "staleness": spec.staleness,
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                spec.output: [
                    dg.TableColumnDep(asset_key=dg.AssetKey(names.source), column_name=column)
                    for column in spec.input_columns
                ]
            }
        ),
    }


def column_schema(spec: VectorColumn, dimension: int) -> dg.TableSchema:
    """Return the columns that this project adds to the table."""
    columns = [dg.TableColumn(spec.output, f"VECTOR({dimension})", description=f"embedding by {spec.model}")]
    if spec.fingerprint_column:
        columns.append(dg.TableColumn(spec.fingerprint_column, "TEXT", description="md5 over model and input"))
    return dg.TableSchema(columns)


def run_metadata(report: RefreshReport, state: RangeState) -> Metadata:
    """Return the numbers of one materialization, always all of them: only ints and floats are plotted."""
    return {
        "rows_embedded": report.rows_embedded,
        "rows_per_second": round(report.rows_per_second, 1),
        "rows_pending": state.pending,
        "rows_failed": report.rows_failed,
        "rows_failed_recorded": state.failed,
        "rows_deferred": state.deferred,
        "rows_changed_meanwhile": report.rows_changed,
        "rows_truncated": report.rows_truncated,
        "rows_unreadable": report.rows_unreadable,
        "rows_deduplicated": report.rows_deduplicated,
        "rows_cleared": report.rows_cleared,
        "rows_blank": state.blank,
        "batches": report.batches,
        "retries": report.retries,
        "seconds": round(report.seconds, 3),
        "dagster/partition_row_count": state.rows,
    }


def summary(report: RefreshReport, state: RangeState, rows_embedded: int) -> str:
    """Return what was done and what the partition contains, as a table in Markdown."""
    numbers = {
        "rows read": report.rows_read,
        "embedded": rows_embedded,
        "of these, with the vector of an equal input": report.rows_deduplicated,
        "of these, with a truncated input": report.rows_truncated,
        "failed": report.rows_failed,
        "edited or deleted between read and write": report.rows_changed,
        "vectors cleared": report.rows_cleared,
        "rows of the partition": state.rows,
        "of these, pending": state.pending,
    }
    rows = "\n".join(f"| {name} | {number:,} |" for name, number in numbers.items())
    speed = f"{report.seconds:,.1f} s, {report.rows_per_second:,.0f} rows/s"
    return f"| | |\n|---|---:|\n{rows}\n\n{speed}"


def materialization(
    names: AssetNames,
    column: BoundColumn,
    partition: str,
    done: Completion,
    *,
    rows_embedded: int | None = None,
) -> dg.AssetMaterialization:
    """Return the event that marks a completed partition as materialized.

    Args:
        names: The names of the column in Dagster.
        column: The column.
        partition: The partition key.
        done: What became of the partition.
        rows_embedded: The rows embedded in the partition, if not only by `done`.
    """
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey(names.asset),
        partition=partition,
        metadata={
            **run_metadata(done.report, done.state),
            **({} if rows_embedded is None else {"rows_embedded": rows_embedded}),
            "rows_arrived_meanwhile": done.rows_arrived,
            "summary": dg.MetadataValue.md(
                summary(done.report, done.state, done.report.rows_embedded if rows_embedded is None else rows_embedded)
            ),
            "server": column.database.server,
            "dagster/column_schema": column_schema(column.spec, column.model.dim),
        },
    )
