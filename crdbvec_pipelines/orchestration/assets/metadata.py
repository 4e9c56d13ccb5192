"""The metadata of a vector column in the UI: numbers that it plots, and facts about the table and the column."""

from collections.abc import Mapping

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.table import chunk_definition, chunk_table_name
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.rows.range_state import RangeState
from crdbvec_pipelines.encoding.picture_summary import PictureSummary
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.assets.contact_sheet_text import contact_sheet_text
from crdbvec_pipelines.refresh.completion import Completion
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.search.contact_sheet import ContactSheet
from crdbvec_pipelines.value_text import key_text

ROW_COUNT = "dagster/partition_row_count"
"""The number of rows of a partition, which Dagster shows as such."""

TOKENS = "tokens_encoded"
"""The tokens that the model has read, for a model that counts them."""

PICTURES = "pictures"
"""The formats and sizes of the pictures that were encoded, and the reasons for which others were rejected, as JSON."""

CONTACT_SHEET = "contact_sheet"
"""Some pictures of the partition with those nearest to them, as Markdown."""

COUNTS = "counts"
"""The metadata with the numbers that are not plotted, as JSON."""

STATE_COUNTS = frozenset(
    {"rows_stale", "rows_failed_recorded", "rows_deferred", "rows_blank", "rows_arrived_meanwhile"}
)
"""The numbers under `COUNTS` that describe the rows of the partition, and not what was done."""


def definition_metadata(spec: VectorColumn, names: AssetNames) -> Mapping[str, str | dg.TableColumnLineage]:
    """Return the metadata of the definition, which needs no run."""
    return {
        "dagster/table_name": str(spec.table if spec.chunking is None else chunk_table_name(spec)),
        "model": spec.model,
        "input": spec.template or ", ".join(spec.input_columns),
        "output": spec.output,
        "staleness": spec.staleness,
        **({} if spec.target_lag is None else {"target_lag": spec.target_lag}),
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                spec.output: [
                    dg.TableColumnDep(asset_key=dg.AssetKey(names.source), column_name=column)
                    for column in spec.encoded_columns
                ]
            }
        ),
    }


def column_schema(column: BoundColumn) -> dg.TableSchema:
    """Return the columns of the table, followed by those that this project has added; those of a chunk table."""
    spec = column.spec
    if spec.chunking is not None:
        return _chunk_schema(column)
    added = {
        spec.output: dg.TableColumn(
            spec.output, f"VECTOR({column.model.dim})", description=f"embedding by {spec.model}"
        )
    }
    if spec.fingerprint_column:
        added[spec.fingerprint_column] = dg.TableColumn(
            spec.fingerprint_column, "TEXT", description="md5 over model and input"
        )
    key = {each.name for each in column.table.key}
    present = [
        dg.TableColumn(
            each.name,
            each.cast.upper(),
            description="primary key" if each.name in key else None,
            constraints=dg.TableColumnConstraints(nullable=each.is_nullable),
        )
        for each in column.table.columns.values()
        if each.name not in added
    ]
    return dg.TableSchema([*present, *added.values()])


def _chunk_schema(column: BoundColumn) -> dg.TableSchema:
    chunks = chunk_definition(column).table
    key = {each.name for each in chunks.key}
    vector = column.spec.output
    return dg.TableSchema(
        [
            dg.TableColumn(
                each.name,
                f"VECTOR({column.model.dim})" if each.name == vector else each.cast.upper(),
                description=f"embedding by {column.spec.model}"
                if each.name == vector
                else "primary key"
                if each.name in key
                else None,
                constraints=dg.TableColumnConstraints(nullable=each.is_nullable),
            )
            for each in chunks.columns.values()
        ]
    )


def run_metadata(
    done: Completion, rows_embedded: int, spec: VectorColumn
) -> Mapping[str, int | float | dg.MetadataValue]:
    """Return the numbers of one materialization, always all of them.

    The UI plots each number that is a metadata value of its own, so those that are usually 0 are one JSON value.
    """
    report, state = done.report, done.state
    return {
        "rows_embedded": rows_embedded,
        "rows_per_second": round(report.rows_per_second, 1),
        "rows_pending": state.pending,
        "rows_failed": report.rows_failed,
        "seconds": round(report.seconds, 3),
        **({TOKENS: report.tokens_encoded} if report.tokens_encoded else {}),
        **({} if (cost := spec.price_of(report.tokens_encoded)) is None else {"cost": round(cost, 6)}),
        **({PICTURES: dg.MetadataValue.json(report.pictures.numbers)} if report.pictures else {}),
        ROW_COUNT: state.rows,
        **_chunk_numbers(state, spec),
        COUNTS: dg.MetadataValue.json(
            {
                "rows_read": report.rows_read,
                "rows_stale": state.stale,
                "rows_failed_recorded": state.failed,
                "rows_deferred": state.deferred,
                "rows_blank": state.blank,
                "rows_arrived_meanwhile": done.rows_arrived,
                "rows_changed_meanwhile": report.rows_changed,
                "rows_truncated": report.rows_truncated,
                "rows_unreadable": report.rows_unreadable,
                "rows_deduplicated": report.rows_deduplicated,
                "rows_cleared": report.rows_cleared,
                "tokens_encoded": report.tokens_encoded,
                "batches": report.batches,
                "retries": report.retries,
            }
        ),
    }


def _chunk_numbers(state: RangeState, spec: VectorColumn) -> Mapping[str, int | float]:
    """Return the chunks of the partition, and their number per embedded row; nothing for one vector a row."""
    if spec.chunking is None:
        return {}
    return {"chunks": state.chunks, "chunks_per_row": round(state.chunks / state.vectors, 2) if state.vectors else 0.0}


def summary(report: RefreshReport, state: RangeState, rows_embedded: int, cost: float | None) -> str:
    """Return what was done and what the partition contains, as a table in Markdown; without texts of rows."""
    numbers = {
        "rows read": report.rows_read,
        "embedded": rows_embedded,
        "of these, with the vector of an equal input": report.rows_deduplicated,
        "of these, with a truncated input": report.rows_truncated,
        "of these, with mostly unknown tokens": report.rows_unreadable,
        "failed": report.rows_failed,
        "edited or deleted between read and write": report.rows_changed,
        "vectors cleared": report.rows_cleared,
        "rows of the partition": state.rows,
        "of these, pending": state.pending,
        "of these, deferred after a failure": state.deferred,
        "of these, without an input": state.blank,
    }
    rows = "\n".join(f"| {name} | {number:,} |" for name, number in numbers.items())
    lines = [
        f"{report.seconds:,.1f} s, {report.rows_per_second:,.0f} rows/s, {report.batches:,} batches, the slowest "
        f"{report.slowest_batch_seconds:,.2f} s"
    ]
    if report.tokens_encoded:
        lines[0] += f"; {report.tokens_encoded:,} tokens encoded"
        lines[0] += "" if cost is None else f" at a cost of {cost:,.6f}"
    if report.pictures:
        lines.append(_pictures_text(report.pictures))
    if report.failed_keys:
        keys = "; ".join(key_text(key) for key in report.failed_keys)
        lines.append(f"Failed rows, for example those with the keys `{keys}`: run `crdbvec errors list`.")
    return f"| | |\n|---|---:|\n{rows}\n\n" + "\n\n".join(lines)


def _pictures_text(pictures: PictureSummary) -> str:
    formats = ", ".join(f"{count:,} {name}" for name, count in sorted(pictures.formats.items())) or "none"
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in sorted(pictures.rejected.items()))
    return f"Pictures: {formats}." + (f" Rejected: {rejected}." if rejected else "")


def materialization(
    names: AssetNames,
    column: BoundColumn,
    partition: str,
    done: Completion,
    *,
    versions: Mapping[str, str],
    rows_embedded: int | None = None,
    sheet: ContactSheet | None = None,
) -> dg.AssetMaterialization:
    """Return the event that marks a completed partition as materialized.

    Args:
        names: The names of the column in Dagster.
        column: The column.
        partition: The partition key.
        done: What became of the partition.
        versions: The tags of `version_tags`, or of `outdated` if some vectors are outdated.
        rows_embedded: The rows embedded in the partition, if not only by `done`.
        sheet: Some of its pictures; None to show none.
    """
    embedded = done.report.rows_embedded if rows_embedded is None else rows_embedded
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey(names.asset),
        partition=partition,
        metadata={
            **run_metadata(done, embedded, column.spec),
            "summary": dg.MetadataValue.md(
                summary(done.report, done.state, embedded, column.spec.price_of(done.report.tokens_encoded))
            ),
            **({} if sheet is None else {CONTACT_SHEET: dg.MetadataValue.md(contact_sheet_text(sheet))}),
            "server": column.database.server,
            "dagster/column_schema": column_schema(column),
        },
        tags=versions,
    )
