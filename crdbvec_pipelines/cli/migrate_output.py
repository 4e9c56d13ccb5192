"""The output of `crdbvec migrate`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from crdbvec_pipelines.cli.output import bytes_text, print_table, seconds_text
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.schema.migrations import Migration
from crdbvec_pipelines.estimate import Estimate
from crdbvec_pipelines.search.comparison import Comparison, Interval
from crdbvec_pipelines.search.evaluation import measure_texts
from crdbvec_pipelines.search.judged import Judged
from crdbvec_pipelines.search.migration import Readiness
from crdbvec_pipelines.value_text import jsonable, key_text

_SHOWN_CHARACTERS = 100


def migration_json(migration: Migration) -> dict[str, Any]:
    """Return a migration as JSON."""
    return {
        "table": str(migration.table),
        "output": migration.output,
        "second": migration.second,
        "old_model": migration.first_model,
        "new_model": migration.second_model,
        "phase": migration.phase,
        "started_at": migration.started_at.isoformat(),
    }


def state_lines(migration: Migration, readiness: Readiness | None = None) -> Iterator[str]:
    """Yield what a migration is and how far it is."""
    yield (
        f"{migration.table}.{migration.output}: from {migration.first_model} to {migration.second_model}, "
        f"{migration.phase}"
    )
    if not migration.is_active:
        return
    own, other = migration.first_model, migration.second_model
    if migration.is_switched:
        own, other = other, own
    yield f"  {migration.output}: {own}, used by applications"
    yield f"  {migration.second}: {other}" + (
        ""
        if readiness is None
        else f", {readiness.rows_behind:,} rows behind, {'with' if readiness.has_index else 'without'} index"
    )


def next_step(migration: Migration, readiness: Readiness | None) -> str:
    """Return what to run next."""
    of_second = f"-t {migration.table} -o {migration.second}"
    own = f"-t {migration.table}"
    if migration.phase == "finished":
        return f"The entry of {migration.output} in crdbvec.yaml needs `model: {migration.second_model}`."
    if migration.phase == "finishing":
        return f"The removal was interrupted. Run `crdbvec migrate finish {own}` to continue."
    if migration.is_exchanging:
        action = "switch" if migration.phase == "switching" else "rollback"
        return f"The exchange was interrupted. Run `crdbvec migrate {action} {own}` to continue."
    if migration.phase == "switched":
        return f"Run `crdbvec migrate finish {own}` to drop the old vectors, or `crdbvec migrate rollback {own}`."
    if readiness is None or readiness.rows_behind:
        return f"Run `crdbvec embed {of_second}`, or keep `crdbvec embed -F` running, to embed the rows."
    if readiness.needs_index and not readiness.has_index:
        return f"Run `crdbvec index build {of_second}`."
    return f"Run `crdbvec migrate compare {own}`, then `crdbvec migrate switch {own}`."


def estimate_lines(column: VectorColumn, estimate: Estimate) -> Iterator[str]:
    """Yield what the start of a migration would cost."""
    reasons = estimate.reasons
    yield f"{column} by {column.model}: {reasons.pending:,} rows to embed"
    if estimate.sampled and estimate.seconds is not None and estimate.rows_per_second:
        yield f"  {seconds_text(estimate.seconds)} at {estimate.rows_per_second:,.0f} rows/s"
    yield (
        f"  storage: {bytes_text(estimate.column_bytes)} for the column, "
        f"{bytes_text(estimate.index_bytes)} for an index"
    )
    yield "statements:"
    for text in estimate.statements:
        yield from (f"  {line}" for line in f"{text};".splitlines())


def comparison_json(
    columns: tuple[VectorColumn, VectorColumn], compared: Comparison, *, with_inputs: bool
) -> dict[str, Any]:
    """Return a comparison as JSON."""
    values = asdict(compared)
    inputs = values.pop("inputs")
    del values["overlaps"]
    shown = [{"key": jsonable(list(key)), "input": jsonable(value)} for key, value in inputs.items()]
    return {
        "columns": [{"output": each.output, "model": each.model} for each in columns],
        **values,
        **({"inputs": shown} if with_inputs else {}),
    }


def comparison_lines(
    columns: tuple[VectorColumn, VectorColumn], compared: Comparison, texts: Mapping[tuple[Any, ...], Any]
) -> Iterator[str]:
    """Yield a comparison as text."""
    yield f"overlap at {compared.k}: {_interval_text(compared.overlap)}, {compared.queries} queries"
    yield f"rank correlation: {_interval_text(compared.rank_correlation)}"
    for column, measures in zip(columns, (compared.first, compared.second), strict=True):
        index = "no index" if measures.index_bytes is None else f"index {bytes_text(measures.index_bytes)}"
        yield (
            f"{column.output} ({column.model}): {measures.p50_ms:,.1f} ms (p95 {measures.p95_ms:,.1f} ms), "
            f"mean distance {measures.mean_distance:.3f}, vectors {bytes_text(measures.vector_bytes)}, {index}"
        )
    yield "the queries with the lowest overlap:"
    for each in compared.most_different:
        query = key_text(each.query) if isinstance(each.query, tuple) else str(each.query)
        yield f"  {query}: overlap {each.overlap:.2f}"
        for column, keys in zip(columns, (each.first, each.second), strict=True):
            yield f"    {column.output}: {'; '.join(map(key_text, keys))}"
            for key in keys if texts else ():
                yield f"      {key_text(key)}: {str(texts.get(key))[:_SHOWN_CHARACTERS]}"


def print_judged(columns: tuple[VectorColumn, VectorColumn], judged: Judged) -> None:
    """Print how good searches of two columns are."""
    rows = [
        [column.output, column.model, f"{quality.questions:,}", *measure_texts(quality).values()]
        for column, quality in zip(columns, (judged.first, judged.second), strict=True)
    ]
    rows.append(["difference", "", "", *measure_texts(judged.difference).values()])
    k = judged.k
    print_table(["column", "model", "questions", f"recall@{k}", f"MRR@{k}", f"nDCG@{k}"], rows)


def _interval_text(interval: Interval) -> str:
    return f"{interval.mean:.3f} (95% {interval.low:.3f} to {interval.high:.3f})"
