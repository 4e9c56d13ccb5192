"""The asset check of searches for questions, and the text index that the index asset builds."""

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.value_text import key_text
from tests.orchestration.project import BuildProject, Project
from tests.support.generated_models import cross_encoder
from tests.support.tables import INT_SHAPE, create_table
from tests.support.work import embed

ASSET = dg.AssetKey(["public", "passage", "passage_vector"])
INDEX = dg.AssetKey(["public", "passage", "passage_vector_index"])
TEXTS: list[str | None] = [f"text number {number} with the code x{number:03d}z" for number in range(20)]
QUESTIONS = "".join(
    f'{{"query": "the code x{number:03d}z", "relevant": [{key_text(INT_SHAPE.key(number))}], "kind": "{number}"}}\n'
    for number in (7, 11)
)


@pytest.fixture
def filled(url: str, connection: psycopg.Connection) -> str:
    create_table(connection, texts=TEXTS)
    with Database(url) as database:
        spec = vector_column(table="passage", input="passage", output="passage_vector", model="stub_hash")
        embed(database, spec)
    return url


def evaluate(project: Project, asset: dg.AssetKey) -> dg.AssetCheckEvaluation:
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={dg.AssetCheckKey(asset, "search_quality")}
    )
    (evaluation,) = job.execute_in_process(instance=project.instance).get_asset_check_evaluations()
    return evaluation


def test_check_compares_hybrid_searches_with_the_threshold(
    filled: str, build_project: BuildProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    file.write_text(QUESTIONS, encoding="utf-8")
    checks = {"questions": str(file), "ndcg": 0.9}
    project = build_project(filled, model="stub_hash", text_index={}, checks=checks)
    passed = evaluate(project, ASSET)
    assert passed.passed
    assert passed.metadata["ndcg hybrid"].value == 1
    assert passed.metadata["questions"].value == 2
    without = build_project(filled, model="stub_hash", checks=checks, index={})
    failed = evaluate(without, INDEX)
    assert not failed.passed
    assert "of vector searches" in (failed.description or "")
    folder = tmp_path_factory.mktemp("reranker") / "cross"
    cross_encoder(folder)
    reranked = evaluate(build_project(filled, model="stub_hash", rerank=str(folder), checks=checks), ASSET)
    # With random weights, the order is not that of the question.
    assert not reranked.passed
    assert "of reranked searches" in (reranked.description or "")
    assert float(str(reranked.metadata["ndcg reranked"].value)) < 0.9


def test_index_asset_builds_the_text_index(filled: str, build_project: BuildProject) -> None:
    project = build_project(filled, model="stub_hash", index={}, text_index={})
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={INDEX}, asset_check_selection=set()
    )
    result = job.execute_in_process(instance=project.instance)
    (event,) = result.asset_materializations_for_node(INDEX.to_python_identifier())
    assert event.metadata["text_index_built"].value == 1
    assert str(event.metadata["text_index"].value).endswith("_text")
