"""The asset checks: each passes, and warns with numbers when there is reason to; none ever blocks."""

from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest

from tests.orchestration.evaluations import CHECKS, Evaluation, evaluate
from tests.orchestration.project import Project, project
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, UUID_SHAPE, create_table, insert_rows, set_text

pytestmark = pytest.mark.usefixtures("calls")

WARN = dg.AssetCheckSeverity.WARN


@pytest.fixture
def made(url: str, connection: psycopg.Connection) -> Iterator[Project]:
    """Four embedded rows, and one without text."""
    create_table(connection, INT_SHAPE, ["a", "b", "c", "d", ""])
    with project(url) as found:
        found.run("follow")
        yield found


def test_all_is_well_after_embedding(made: Project) -> None:
    found = evaluate(made)
    assert found["coverage"] == Evaluation(
        True, WARN, {"share": 1.0, "rows": 5, "rows_embedded": 4, "rows_pending": 0, "rows_blank": 1}
    )
    assert found["drift"] == Evaluation(True, WARN, {"rows_drifted": 0, "rows_hashed": 4})
    assert found["row_errors"] == Evaluation(True, WARN, {"rows_failed": 0, "waiting": 0})
    health = found["vector_health"]
    assert health.passed
    assert {"vectors": 4, "wrong_dimension": 0, "not_finite": 0, "zero": 0}.items() <= health.metadata.items()
    assert 0 < health.metadata["smallest_norm"] <= health.metadata["largest_norm"] < 8


def test_an_empty_table_is_well(url: str, connection: psycopg.Connection) -> None:
    create_table(connection)
    with project(url) as made:
        found = evaluate(made)
        assert [found[name].passed for name in CHECKS] == [True] * 4
        assert found["coverage"].metadata["share"] == 1.0
        assert "smallest_norm" not in found["vector_health"].metadata


def test_every_check_runs_after_a_materialization_and_none_blocks(made: Project) -> None:
    result = made.run("encode_in_process", partition_key=made.partitions[0])
    assert {evaluation.check_name for evaluation in result.get_asset_check_evaluations()} == set(CHECKS)
    assert not any(evaluation.blocking for evaluation in result.get_asset_check_evaluations())


def test_coverage_warns_of_rows_that_are_pending(made: Project, connection: psycopg.Connection) -> None:
    insert_rows(connection, INT_SHAPE, {10: "new"})
    set_text(connection, INT_SHAPE, 0, "edited")
    found = evaluate(made)["coverage"]
    assert (found.passed, found.severity, found.metadata["share"]) == (False, WARN, 0.6)
    assert (found.metadata["rows_pending"], found.metadata["rows_embedded"]) == (2, 4)


def test_coverage_is_enough_where_the_configuration_says_so(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a", "b"])
    with project(url, checks={"coverage": 0.5}) as made:
        made.run("follow")
        insert_rows(connection, INT_SHAPE, {10: "c", 11: "d"})
        assert evaluate(made)["coverage"].passed
        insert_rows(connection, INT_SHAPE, {12: "e"})
        assert not evaluate(made)["coverage"].passed


def test_rows_that_failed_count_as_not_covered(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a", "POISON", "c", "d"])
    with project(url, model="stub_moody") as made:
        made.run("follow")
        found = evaluate(made)
        coverage = found["coverage"]
        assert (coverage.passed, coverage.metadata["share"], coverage.metadata["rows_pending"]) == (False, 0.75, 0)
        assert found["row_errors"] == Evaluation(False, WARN, {"rows_failed": 1, "waiting": 1, "poison": 1})


def test_the_age_of_the_oldest_pending_row_is_told_where_it_is_known(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    connection.execute("ALTER TABLE passage ADD COLUMN updated TIMESTAMPTZ DEFAULT now()")
    with project(url, updated_at="updated") as made:
        made.run("follow")
        assert evaluate(made)["coverage"].metadata["oldest_pending_seconds"] == 0
        connection.execute("UPDATE passage SET passage = passage || '!', updated = now() - INTERVAL '1 hour'")
        connection.execute("UPDATE passage SET updated = now() - INTERVAL '3 days' WHERE id = %s", INT_SHAPE.key(0))
        assert evaluate(made)["coverage"].metadata["oldest_pending_seconds"] >= 3 * 24 * 3600


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger"])
def test_drift_is_found_where_triggers_were_bypassed(postgres: Server, staleness: str) -> None:
    with (
        postgres.new_database() as url,
        psycopg.connect(url, autocommit=True) as connection,
        project(url, staleness=staleness) as made,
    ):
        create_table(connection, INT_SHAPE, ["a", "b", "c", "d"])
        made.run("follow")
        connection.execute("SET session_replication_role = replica")
        set_text(connection, INT_SHAPE, 0, "loaded")
        set_text(connection, INT_SHAPE, 1, None)
        found = evaluate(made)["drift"]
        assert found == Evaluation(False, WARN, {"rows_drifted": 2, "rows_hashed": 4})
        made.run("maintain")
        assert evaluate(made)["drift"] == Evaluation(True, WARN, {"rows_drifted": 0, "rows_hashed": 3})


def test_drift_of_some_partitions_hashes_only_these(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, UUID_SHAPE, [f"text {number}" for number in range(40)])
    with project(url, partitions={"target_rows": 10}, checks={"drift_partitions": 1}) as made:
        made.run("follow")
        assert len(made.partitions) == 4
        # Somebody's nonsense is passed over.
        made.instance.add_dynamic_partitions(made.names.partitions, ["nonsense"])
        sizes = [metadata["rows_embedded"] for metadata in made.materialized().values()]
        connection.execute("UPDATE passage SET passage = passage || '!'")
        found = evaluate(made)["drift"]
        assert not found.passed
        assert found.metadata["rows_drifted"] == found.metadata["rows_hashed"]
        assert found.metadata["rows_hashed"] in sizes


def test_drift_after_a_change_of_the_model_is_every_vector(
    url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table(connection, INT_SHAPE, ["a", "b", "c"])
    with project(url, model="stub_moody") as made:
        made.run("follow")
        monkeypatch.setenv("CRDBVEC_TEST_REVISION", "2")
        renewed = Project(made.config, made.instance)
        assert evaluate(renewed)["drift"].metadata == {"rows_drifted": 3, "rows_hashed": 3}


def test_without_fingerprints_there_is_no_check_of_drift(url: str, connection: psycopg.Connection) -> None:
    create_table(connection, INT_SHAPE, ["a"])
    with project(url, staleness="nulls_only") as made:
        result = made.run("follow")
        assert result.success
        found = evaluate(made)
        assert set(found) >= {"coverage", "vector_health", "row_errors"}
        assert "drift" not in found
        assert found["coverage"].passed


def test_a_vector_that_no_search_can_use_is_found(made: Project, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE passage SET passage_vector = '[0,0,0,0,0,0,0,0]' WHERE id = %s", INT_SHAPE.key(0))
    connection.execute("UPDATE passage SET passage_vector = '[3,4,0,0,0,0,0,0]' WHERE id = %s", INT_SHAPE.key(1))
    found = evaluate(made)["vector_health"]
    assert (found.passed, found.severity) == (False, WARN)
    assert {"vectors": 4, "zero": 1, "smallest_norm": 0.0, "largest_norm": 5.0}.items() <= found.metadata.items()
