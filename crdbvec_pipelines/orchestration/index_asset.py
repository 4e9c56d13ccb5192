"""The vector index as an asset behind its vector column, and the checks that prove that it is used and accurate."""

import base64
import time
from dataclasses import asdict, fields
from typing import Any

import dagster as dg

from crdbvec_pipelines.config import IndexSpec, VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.metrics import metric_of
from crdbvec_pipelines.database.nearest import Nearest
from crdbvec_pipelines.database.vector_index import left_out
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.indexing import build_when_covered, open_index
from crdbvec_pipelines.orchestration.failures import as_failures
from crdbvec_pipelines.orchestration.names import Names
from crdbvec_pipelines.orchestration.resources import CockroachResource
from crdbvec_pipelines.recall import Measurement, measure_recall, picture, sample_queries
from crdbvec_pipelines.search import Searcher, Wish

_SECONDS_BETWEEN_LINES = 15.0
_PLANNED = 3


class IndexConfig(dg.Config):
    """What one run may be told."""

    replace: bool = False
    """Drop an index that differs from what crdbvec.yaml asks, and build anew."""


def build_index_definitions(spec: VectorColumn, names: Names, registry: ModelRegistry) -> dg.Definitions:
    """The index asset of a vector column and its checks; nothing where no index is asked for."""
    if spec.index is None:
        return dg.Definitions()
    asset = _index_asset(spec, names, registry)
    return dg.Definitions(
        assets=[asset], asset_checks=[_index_used(spec, names, registry), _recall(spec, names, registry, spec.index)]
    )


def _index_asset(spec: VectorColumn, names: Names, registry: ModelRegistry) -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey(names.index),
        deps=[dg.AssetKey(names.asset)],
        group_name=names.group,
        kinds={"cockroachdb"},
        description=f"The vector index over {spec.output} of {spec.table}, built once enough rows are embedded.",
        op_tags={"crdbvec/vector_column": names.stem},
    )
    def vector_index(
        context: dg.AssetExecutionContext, config: IndexConfig, cockroach: CockroachResource
    ) -> dg.MaterializeResult[Any]:
        with as_failures():
            encoder = registry.load(spec.model)
            database = cockroach.database
            sentence = left_out(database.dialect, spec)
            if sentence:
                context.log.warning(sentence)
            started = time.monotonic()
            built = build_when_covered(
                database, spec, encoder, replace=config.replace, on_progress=_logged(context, spec)
            )
            index = open_index(database, spec, encoder)
            sizes = index.sizes()
        return dg.MaterializeResult(
            metadata={
                "built": int(built),
                "seconds": round(time.monotonic() - started, 3),
                **({} if sizes.index is None else {"dagster/size_bytes": sizes.index}),
                **({} if sizes.table is None else {"table_bytes": sizes.table}),
                "vectors": sizes.vectors,
                "full_precision_bytes": sizes.full_precision,
                "index": index.name,
                "metric": metric_of(spec, encoder.metric),
                "prefix": ", ".join(index.wanted.prefix),
            }
        )

    return vector_index


def _index_used(spec: VectorColumn, names: Names, registry: ModelRegistry) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=dg.AssetKey(names.index), name="index_used", blocking=False)
    def index_used(cockroach: CockroachResource) -> dg.AssetCheckResult:
        """Whether the server answers a search by the vector index; read off EXPLAIN."""
        with as_failures():
            searcher = Searcher(cockroach.database, spec, registry.load(spec.model))
            plans = _plans(cockroach.database, searcher, spec)
        without = [plan for plan, by_index in plans if not by_index]
        shown = [*without, *(plan for plan, _ in plans), "no row has a vector"][0]
        return dg.AssetCheckResult(
            passed=bool(plans) and not without,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(plans) - len(without)} of {len(plans)} searches are answered by the index.",
            metadata={
                "searches_planned": len(plans),
                "searches_by_index": len(plans) - len(without),
                "plan": dg.MetadataValue.md(f"```\n{shown}\n```"),
            },
        )

    return index_used


def _recall(spec: VectorColumn, names: Names, registry: ModelRegistry, asked: IndexSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=dg.AssetKey(names.index), name="recall_at_k", blocking=False)
    def recall_at_k(cockroach: CockroachResource) -> dg.AssetCheckResult:
        """Whether the index finds what an exact search finds, on rows of the table itself."""
        with as_failures():
            searcher = Searcher(cockroach.database, spec, registry.load(spec.model))
            curve = measure_recall(cockroach.database, searcher.table, spec, searcher.metric)
        now = curve.at(asked.effort)
        smallest = curve.smallest(asked.wanted_recall)
        png = base64.b64encode(picture(curve, str(spec), asked.wanted_recall)).decode()
        return dg.AssetCheckResult(
            passed=now is not None and now.recall >= asked.wanted_recall and now.by_index,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "k": curve.k,
                "queries": curve.queries,
                "recall": now.recall if now else 0.0,
                "worst_query": now.worst if now else 0.0,
                "p50_ms": now.p50 if now else 0.0,
                "p95_ms": now.p95 if now else 0.0,
                "exact_p50_ms": curve.exact_p50,
                "smallest_effort": smallest.effort if smallest else -1,
                "measurements": dg.MetadataValue.table(
                    [dg.TableRecord(asdict(each)) for each in curve.measurements],
                    schema=dg.TableSchema([dg.TableColumn(field.name) for field in fields(Measurement)]),
                ),
                "curve": dg.MetadataValue.md(f"![recall over latency](data:image/png;base64,{png})"),
            },
        )

    return recall_at_k


def _plans(database: Database, searcher: Searcher, spec: VectorColumn) -> list[tuple[str, bool]]:
    """The plans of some searches like the users', and whether each goes by the index."""
    nearest = Nearest(database, searcher.table, spec, searcher.metric)
    return [
        ("\n".join(nearest.explain(vector, Wish(where=where))), nearest.would_use_index(vector, Wish(where=where)))
        for vector, where in sample_queries(database, searcher.table, spec, _PLANNED)
    ]


def _logged(context: dg.AssetExecutionContext, spec: VectorColumn) -> Any:
    last = 0.0

    def on_progress(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            context.log.info(f"the index over {spec} is {share:.0%} built")

    return on_progress
