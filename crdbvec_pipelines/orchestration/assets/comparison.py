"""What Dagster shows of two compared vector columns: numbers that it plots, a table and a plot."""

import base64
from typing import Any

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.search.comparison import Comparison
from crdbvec_pipelines.search.evaluation import measure_texts
from crdbvec_pipelines.search.judged import Judged
from crdbvec_pipelines.search.plot import comparison_plot
from crdbvec_pipelines.value_text import key_text


def comparison_metadata(
    columns: tuple[VectorColumn, VectorColumn], compared: Comparison, judged: Judged | None = None
) -> dict[str, Any]:
    """Return the metadata of a comparison; it contains keys of rows, and no texts.

    Args:
        columns: The columns, that which applications use first.
        compared: Their comparison.
        judged: How good their searches are; None without judged questions.
    """
    rows = []
    qualities = (None, None) if judged is None else (judged.first, judged.second)
    for column, measures, quality in zip(columns, (compared.first, compared.second), qualities, strict=True):
        values: dict[str, str | float | int | None] = {
            "column": column.output,
            "model": column.model,
            "p50_ms": round(measures.p50_ms, 2),
            "p95_ms": round(measures.p95_ms, 2),
            "mean_distance": round(measures.mean_distance, 4),
            "vector_bytes": measures.vector_bytes,
            "index_bytes": measures.index_bytes or 0,
        }
        if quality is not None:
            values |= measure_texts(quality)
        rows.append(dg.TableRecord(values))
    png = base64.b64encode(comparison_plot(columns, compared, judged)).decode()
    examples = "\n".join(
        f"| {_query_text(each.query)} | {each.overlap:.2f} | {'; '.join(map(key_text, each.first))} "
        f"| {'; '.join(map(key_text, each.second))} |"
        for each in compared.most_different
    )
    heads = " | ".join(f"nearest in {each.output}" for each in columns)
    return {
        "queries": compared.queries,
        f"overlap_at_{compared.k}": round(compared.overlap.mean, 4),
        f"overlap_at_{compared.k}_interval": f"{compared.overlap.low:.3f} to {compared.overlap.high:.3f}",
        "rank_correlation": round(compared.rank_correlation.mean, 4),
        **({} if judged is None else _difference(judged)),
        "columns": dg.MetadataValue.table(rows),
        "lowest_overlap": dg.MetadataValue.md(f"| query | overlap | {heads} |\n|---|---|---|---|\n{examples}"),
        "plot": dg.MetadataValue.md(f"![overlap and latency](data:image/png;base64,{png})"),
    }


def _difference(judged: Judged) -> dict[str, float | str]:
    gained = judged.difference.ndcg
    return {
        "questions": judged.first.questions,
        "ndcg_difference": round(gained.value, 4),
        "ndcg_difference_interval": f"{gained.low:.3f} to {gained.high:.3f}",
    }


def _query_text(query: Any) -> str:
    return key_text(query) if isinstance(query, tuple) else str(query)
