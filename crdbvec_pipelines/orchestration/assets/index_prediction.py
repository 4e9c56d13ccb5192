"""The prediction of CockroachDB's index as metadata of the index asset."""

import base64
from typing import Any

import dagster as dg

from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.search.index_prediction import PredictionRequest, predict_index
from crdbvec_pipelines.search.plot import prediction_plot


def prediction_metadata(column: BoundColumn) -> dict[str, Any]:
    """Return what `crdbvec index predict` prints, as metadata: tables, a plot, and the recommended settings.

    Raises:
        TableError: No row has a vector, or a prefix column does not exist.
        DatabaseError: The server rejected a statement.
    """
    predicted = predict_index(column, PredictionRequest())
    chosen = predicted.recommendation
    settings = (
        f"min_partition_size {chosen.min_partition_size}, max_partition_size {chosen.max_partition_size}, "
        f"build_beam_size {chosen.build_beam_size}, effort {chosen.beam_size}"
    )
    searches = [
        dg.TableRecord(
            {
                "max_partition_size": size.max_partition_size,
                "build_beam_size": size.build_beam_size,
                "beam_size": each.beam_size,
                "recall": round(each.recall, 4),
                "partitions": round(each.partitions, 1),
                "leaf_entries": round(each.leaf_entries),
                "full_vectors": round(each.full_vectors, 1),
                "bytes_read": round(each.bytes_read),
                "round_trips": each.round_trips,
            }
        )
        for size in predicted.sizes
        for each in size.table.searches
    ]
    indexes = [
        dg.TableRecord(
            {
                "max_partition_size": size.max_partition_size,
                "build_beam_size": size.build_beam_size,
                "levels": size.table.levels,
                "partitions": round(size.table.partitions),
                "entries_each": round(size.table.fill, 1),
                "live_bytes": round(size.table.live_bytes),
                "share_of_vectors": round(size.table.share_of_vectors, 4),
            }
        )
        for size in predicted.sizes
    ]
    png = base64.b64encode(prediction_plot(predicted, str(column.spec))).decode()
    return {
        "prediction_rows_simulated": predicted.sampled_rows,
        "prediction_sizes": dg.MetadataValue.table(indexes),
        "prediction_searches": dg.MetadataValue.table(searches),
        "prediction_curve": dg.MetadataValue.md(f"![predicted recall](data:image/png;base64,{png})"),
        "prediction_recommended": dg.MetadataValue.md("\n".join([settings, *(f"- {each}" for each in chosen.reasons)])),
    }
