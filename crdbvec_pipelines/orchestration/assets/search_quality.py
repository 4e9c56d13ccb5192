"""The asset check that searches are good enough for the questions of a file."""

import base64

import dagster as dg

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.orchestration.asset_names import AssetNames
from crdbvec_pipelines.orchestration.failures import as_dagster_failures
from crdbvec_pipelines.orchestration.resources import background_database
from crdbvec_pipelines.search.evaluation import DEFAULT_K, Evaluation
from crdbvec_pipelines.search.plot import by_mode, quality_plot
from crdbvec_pipelines.search.questions import read_questions
from crdbvec_pipelines.search.searcher import Searcher

CHECK = "search_quality"
DESCRIPTION = "Whether searches find the relevant rows of the questions in a file: nDCG of the first ten hits."


def build_search_quality(spec: VectorColumn, names: AssetNames, registry: ModelRegistry) -> dg.Definitions:
    """Return the check of a vector column's searches; no definitions if the entry names no questions.

    It belongs to the vector index if there is one, because a materialization of the index is when searches change.
    """
    file = spec.checks.questions
    if file is None:
        return dg.Definitions()

    @dg.asset_check(
        asset=dg.AssetKey(names.asset if spec.index is None else names.index),
        name=CHECK,
        description=DESCRIPTION,
        blocking=False,
        required_resource_keys={names.resource},
    )
    def search_quality(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with as_dagster_failures():
            database = background_database(context.resources, names.resource, spec)
            searcher = Searcher(database, spec, registry.encoder_of(spec), registry)
            qualities = Evaluation(searcher, read_questions(file)).qualities()
        of_all = {each.mode: each for each in qualities if not each.kind}
        # What an application uses that has configured it.
        checked = next(of_all[mode] for mode in ("reranked", "hybrid", "vector") if mode in of_all)
        plot = base64.b64encode(quality_plot(by_mode(qualities), str(spec), DEFAULT_K)).decode()
        return dg.AssetCheckResult(
            passed=checked.ndcg.value >= spec.checks.ndcg,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"nDCG at {DEFAULT_K} of {checked.mode} searches is {checked.ndcg} for {checked.questions:,} "
            f"questions; {spec.checks.ndcg:g} is required.",
            metadata={
                "questions": checked.questions,
                **{f"ndcg {mode}": round(each.ndcg.value, 4) for mode, each in of_all.items()},
                **{f"recall {mode}": round(each.recall.value, 4) for mode, each in of_all.items()},
                **{f"mrr {mode}": round(each.mrr.value, 4) for mode, each in of_all.items()},
                "plot": dg.MetadataValue.md(f"![nDCG by kind of question](data:image/png;base64,{plot})"),
            },
        )

    return dg.Definitions(asset_checks=[search_quality])
