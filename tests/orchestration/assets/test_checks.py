"""The asset checks of a vector column: each passes or warns, with its numbers, and none blocks."""

import dagster as dg
import psycopg
import pytest

from tests.orchestration.evaluations import CHECKS, Evaluation, evaluate
from tests.orchestration.project import BuildProject, Project
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, UUID_SHAPE, create_table, insert_rows, set_text

pytestmark = pytest.mark.usefixtures("calls")

WARN = dg.AssetCheckSeverity.WARN


@pytest.fixture
def project(url: str, connection: psycopg.Connection, build_project: BuildProject) -> Project:
    """Four embedded rows, and one without text."""
    create_table(connection, INT_SHAPE, ["a", "b", "c", "d", ""])
    built = build_project(url)
    built.run("follow")
    return built


def test_all_checks_pass_after_embedding(project: Project) -> None:
    found = evaluate(project)
    assert found["coverage"] == Evaluation(
        True, WARN, {"share": 1.0, "rows": 5, "rows_embedded": 4, "rows_pending": 0, "rows_blank": 1}
    )
    assert found["drift"] == Evaluation(True, WARN, {"rows_drifted": 0, "rows_hashed": 4})
    assert found["row_errors"] == Evaluation(True, WARN, {"rows_failed": 0, "rows_deferred": 0})
    health = found["vector_health"]
    assert health.passed
    assert {"vectors": 4, "wrong_dimension": 0, "not_finite": 0, "zero": 0}.items() <= health.metadata.items()
    assert 0 < health.metadata["smallest_norm"] <= health.metadata["largest_norm"] < 8


def test_all_checks_pass_for_an_empty_table(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection)
    project = build_project(url)
    project.prepare()
    found = evaluate(project)
    assert [found[name].passed for name in CHECKS] == [True] * len(CHECKS)
    assert found["coverage"].metadata["share"] == 1.0
    assert "smallest_norm" not in found["vector_health"].metadata


def test_checks_do_not_change_a_table_that_is_not_prepared(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection)
    project = build_project(url)
    with pytest.raises(dg.Failure, match=r"public.passage has no vector column passage_vector yet"):
        evaluate(project)
    assert connection.execute("SELECT to_regclass('crdbvec_row_errors')").fetchone() == (None,)


def test_all_checks_run_after_a_materialization_and_none_blocks(project: Project) -> None:
    result = project.run("encode_in_process", partition_key=project.partitions[0])
    assert {evaluation.check_name for evaluation in result.get_asset_check_evaluations()} == set(CHECKS)
    assert not any(evaluation.blocking for evaluation in result.get_asset_check_evaluations())


def test_coverage_warns_of_pending_rows(project: Project, connection: psycopg.Connection) -> None:
    insert_rows(connection, INT_SHAPE, {10: "new"})
    set_text(connection, INT_SHAPE, 0, "edited")
    found = evaluate(project)["coverage"]
    assert (found.passed, found.severity, found.metadata["share"]) == (False, WARN, 0.6)
    assert (found.metadata["rows_pending"], found.metadata["rows_embedded"]) == (2, 3)


def test_coverage_passes_from_the_configured_share(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b"])
    project = build_project(url, checks={"coverage": 0.5})
    project.run("follow")
    insert_rows(connection, INT_SHAPE, {10: "c", 11: "d"})
    assert evaluate(project)["coverage"].passed
    insert_rows(connection, INT_SHAPE, {12: "e"})
    assert not evaluate(project)["coverage"].passed


def test_failed_row_is_not_covered_and_not_pending(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "REJECTED", "c", "d"])
    project = build_project(url, model="stub_failing")
    project.run("follow")
    found = evaluate(project)
    coverage = found["coverage"]
    assert (coverage.passed, coverage.metadata["share"], coverage.metadata["rows_pending"]) == (False, 0.75, 0)
    assert found["row_errors"] == Evaluation(False, WARN, {"rows_failed": 1, "rows_deferred": 1, "rejected": 1})


def test_coverage_has_the_age_of_the_oldest_pending_row_if_the_entry_has_updated_at(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ DEFAULT now()")
    project = build_project(url, updated_at="updated")
    project.run("follow")
    assert evaluate(project)["coverage"].metadata["oldest_pending_seconds"] == 0
    connection.execute("UPDATE passage SET passage = passage || '!', updated = now() - INTERVAL '1 hour'")
    connection.execute("UPDATE passage SET updated = now() - INTERVAL '3 days' WHERE id = %s", INT_SHAPE.key(0))
    assert evaluate(project)["coverage"].metadata["oldest_pending_seconds"] >= 3 * 24 * 3600


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger"])
def test_drift_warns_of_edits_that_bypassed_triggers(
    postgres: Server, build_project: BuildProject, staleness: str
) -> None:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, INT_SHAPE, ["a", "b", "c", "d"])
        project = build_project(url, staleness=staleness)
        project.run("follow")
        connection.execute("SET session_replication_role = replica")
        set_text(connection, INT_SHAPE, 0, "loaded")
        set_text(connection, INT_SHAPE, 1, None)
        found = evaluate(project)["drift"]
        assert found == Evaluation(False, WARN, {"rows_drifted": 2, "rows_hashed": 4})
        project.run("maintain")
        assert evaluate(project)["drift"] == Evaluation(True, WARN, {"rows_drifted": 0, "rows_hashed": 3})


def test_drift_alone_hashes_only_the_sampled_partitions(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(40)])
    project = build_project(url, partitions={"target_rows": 10}, checks={"drift_partitions": 1})
    project.run("follow")
    assert len(project.partitions) == 4
    # A partition key that is not a key range of the table is ignored.
    project.add_partitions("nonsense")
    sizes = project.rows_embedded().values()
    connection.execute("UPDATE passage SET passage = passage || '!'")
    found = evaluate(project, "drift")["drift"]
    assert not found.passed
    assert found.metadata["rows_drifted"] == found.metadata["rows_hashed"]
    assert found.metadata["rows_hashed"] in sizes
    # The reading of the whole table that the other checks need serves drift, too.
    assert evaluate(project)["drift"].metadata == {"rows_drifted": 40, "rows_hashed": 40}


def test_every_vector_has_drifted_after_a_change_of_the_model(
    url: str, connection: psycopg.Connection, build_project: BuildProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    project = build_project(url, model="stub_failing")
    project.run("follow")
    monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
    reloaded = Project(project.config, project.instance)
    assert evaluate(reloaded)["drift"].metadata == {"rows_drifted": 3, "rows_hashed": 3}


def test_drift_is_not_checked_without_fingerprints(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a"])
    project = build_project(url, staleness="nulls_only")
    result = project.run("follow")
    assert result.success
    found = evaluate(project)
    assert set(found) >= {"coverage", "vector_health", "row_errors"}
    assert "drift" not in found
    assert found["coverage"].passed


def test_vector_health_warns_of_a_vector_of_length_zero(project: Project, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE passage SET passage_vector = '[0,0,0,0,0,0,0,0]' WHERE id = %s", INT_SHAPE.key(0))
    connection.execute("UPDATE passage SET passage_vector = '[3,4,0,0,0,0,0,0]' WHERE id = %s", INT_SHAPE.key(1))
    found = evaluate(project)["vector_health"]
    assert (found.passed, found.severity) == (False, WARN)
    assert {"vectors": 4, "zero": 1, "smallest_norm": 0.0, "largest_norm": 5.0}.items() <= found.metadata.items()


THAI = "\u0e1b\u0e23\u0e30\u0e40\u0e17\u0e28"


def test_texts_that_the_model_does_not_read_warn(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, INT_SHAPE, ["a city", THAI, f"{THAI} {THAI}", "word " * 300, ""])
    project = build_project(url, model="hf_st_all_minilm_l6")
    project.run("follow")
    found = evaluate(project)
    assert found["coverage"].passed
    unreadable, truncated = found["unreadable"], found["truncated"]
    assert (unreadable.passed, unreadable.severity) == (False, WARN)
    assert {"rows_sampled": 4, "share": 0.5}.items() <= unreadable.metadata.items()
    assert (truncated.passed, truncated.metadata["share"]) == (False, 0.25)
    connection.execute("UPDATE passage SET passage = 'a city'")
    found = evaluate(project, "unreadable", "truncated")
    assert [(found[name].passed, found[name].metadata["share"]) for name in ("unreadable", "truncated")] == [
        (True, 0)
    ] * 2


def test_accepted_shares_are_configured(url: str, connection: psycopg.Connection, build_project: BuildProject) -> None:
    create_table(connection, INT_SHAPE, ["a city", THAI, "word " * 300])
    checks = {"unreadable": 0.4, "truncated": 0.4}
    project = build_project(url, model="hf_st_all_minilm_l6", checks=checks)
    result = project.run("follow")
    assert result.success
    found = evaluate(project)
    assert (found["unreadable"].passed, found["truncated"].passed) == (True, True)


def test_texts_of_a_run_over_partitions_are_sampled(
    url: str, connection: psycopg.Connection, build_project: BuildProject
) -> None:
    create_table(connection, UUID_SHAPE, [THAI if number % 2 else "a city" for number in range(40)])
    project = build_project(url, model="hf_st_all_minilm_l6", partitions={"target_rows": 10})
    project.prepare()
    result = project.run("encode_in_process", partition_key=project.partitions[0])
    (evaluation,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "unreadable"]
    assert not evaluation.passed
    sampled = evaluation.metadata["rows_sampled"].value
    assert isinstance(sampled, int)
    assert 0 < sampled < 40
    assert evaluation.partition is None


def test_model_that_counts_no_tokens_is_not_sampled(project: Project) -> None:
    found = evaluate(project)
    for name in ("unreadable", "truncated"):
        assert found[name] == Evaluation(True, WARN, {"rows_sampled": 0})
