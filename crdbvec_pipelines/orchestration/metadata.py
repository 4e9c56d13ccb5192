"""What the UI shows of a vector column: numbers it plots, and facts about table and column."""

from collections.abc import Mapping

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.rows import RowCounts
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.refresh import RefreshReport

Metadata = dict[str, int | float]


def definition_metadata(spec: VectorColumn, names: Names) -> Mapping[str, str | dg.TableColumnLineage]:
    """Facts that hold before anything ran; `source` is the asset key of the table."""
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
    """The columns that this project keeps in the table."""
    columns = [dg.TableColumn(spec.output, f"VECTOR({dimension})", description=f"embedding by {spec.model}")]
    if spec.fingerprint_column:
        columns.append(dg.TableColumn(spec.fingerprint_column, "TEXT", description="md5 over model and input"))
    return dg.TableSchema(columns)


def follow_metadata(report: RefreshReport, embedded: int) -> Metadata:
    """The numbers of one partition that a run over many of them touched: its own rows, and the run's rate."""
    return {
        "rows_embedded": embedded,
        "rows_per_second": round(report.rows_per_second, 1),
        "rows_failed": report.rows_failed,
        "rows_changed_meanwhile": report.rows_changed,
    }


def run_metadata(report: RefreshReport, counts: RowCounts) -> Metadata:
    """The numbers of one materialization. Ints and floats, and each every time, since only these are plotted."""
    return {
        "rows_embedded": report.rows_embedded,
        "rows_per_second": round(report.rows_per_second, 1),
        "rows_pending": counts.pending,
        "rows_failed": report.rows_failed,
        "rows_changed_meanwhile": report.rows_changed,
        "rows_truncated": report.rows_truncated,
        "rows_reused": report.rows_reused,
        "rows_cleared": report.rows_cleared,
        "rows_blank": counts.blank,
        "batches": report.batches,
        "retries": report.retries,
        "seconds": round(report.seconds, 3),
        "dagster/partition_row_count": counts.rows,
    }
