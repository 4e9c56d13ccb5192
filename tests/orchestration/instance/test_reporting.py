"""Reporting of materializations from outside of runs: the touched partitions, at most once per interval."""

from collections import Counter

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.keyspace import KeyRange, ranges_between
from crdbvec_pipelines.orchestration.assets import touched
from crdbvec_pipelines.orchestration.assets.metadata import STATE_COUNTS
from crdbvec_pipelines.orchestration.instance.reporting import MaterializationReporter
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.refresh.rounds import RoundResult
from tests.orchestration.project import BuildProject, Project
from tests.support.models import stub
from tests.support.tables import INT_SHAPE, create_table

RANGES = ranges_between([(10,), (20,)])
KEYS = ("public:passage::min::i10", "public:passage::i10::i20", "public:passage::i20::max")
# The last partition, split.
SPLIT_KEYS = ("public:passage::i20::i30", "public:passage::i30::max")


@pytest.fixture
def project(build_project: BuildProject, url: str, connection: psycopg.Connection) -> Project:
    """A column with three partitions."""
    create_table(connection, INT_SHAPE, [f"text {number}" for number in range(30)])
    built = build_project(url)
    built.add_partitions(*KEYS)
    return built


@pytest.fixture
def reporter(project: Project, database: Database) -> MaterializationReporter:
    reporter = MaterializationReporter(project.instance, project.spec, project.names)
    reporter.follow(prepare_column(database, project.spec, stub()))
    return reporter


def round_result(*touched: KeyRange) -> RoundResult:
    """A round that embedded one row for each key range."""
    return RoundResult(RefreshReport(rows_embedded=len(touched)), Counter(touched))


def test_ranges_are_in_key_order(project: Project, reporter: MaterializationReporter) -> None:
    project.instance.delete_dynamic_partition(project.names.partitions, KEYS[0])
    project.add_partitions(KEYS[0])
    assert reporter.ranges() == RANGES


def test_partitions_with_a_gap_have_no_ranges(project: Project, reporter: MaterializationReporter) -> None:
    project.instance.delete_dynamic_partition(project.names.partitions, KEYS[1])
    assert reporter.ranges() == []


def test_partition_that_is_not_a_key_range_is_ignored(project: Project, reporter: MaterializationReporter) -> None:
    project.add_partitions("nonsense")
    assert reporter.ranges() == RANGES


def test_first_round_is_reported_at_once_and_the_next_ones_together(
    project: Project, reporter: MaterializationReporter
) -> None:
    reporter.add(round_result(RANGES[0], RANGES[0], RANGES[2]))
    assert project.rows_embedded() == {KEYS[0]: 2, KEYS[2]: 1}
    reporter.add(round_result(RANGES[0]))
    reporter.add(round_result(RANGES[1], RANGES[0]))
    assert project.rows_embedded() == {KEYS[0]: 2, KEYS[2]: 1}
    reporter.flush()
    assert project.rows_embedded() == {KEYS[0]: 2, KEYS[1]: 1, KEYS[2]: 1}
    count = len(project.instance.fetch_materializations(project.asset, limit=100).records)
    reporter.flush()
    assert len(project.instance.fetch_materializations(project.asset, limit=100).records) == count == 4


def test_add_returns_whether_it_reported_and_ranges_are_read_again(
    project: Project, reporter: MaterializationReporter
) -> None:
    assert reporter.add(round_result(RANGES[0]))
    assert not reporter.add(round_result(RANGES[0]))
    project.add_partitions(*SPLIT_KEYS)
    project.instance.delete_dynamic_partition(project.names.partitions, KEYS[2])
    assert reporter.ranges() == ranges_between([(10,), (20,), (30,)])


def test_numbers_of_the_last_materialization_are_kept_when_the_time_for_reading_is_spent(
    project: Project, reporter: MaterializationReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter.add(round_result(RANGES[0]))
    reporter.flush()
    before = project.materialized()[KEYS[0]]
    assert before["dagster/partition_row_count"] > 0
    monkeypatch.setattr(touched, "_READ_SECONDS", 0.0)
    monkeypatch.setattr(touched, "_READ_SHARE", 0.0)
    monkeypatch.setattr(touched, "range_state", lambda *_: pytest.fail("the partition was read"))
    reporter.add(round_result(RANGES[0], RANGES[0]))
    reporter.flush()
    after = project.materialized()[KEYS[0]]
    assert after["rows_embedded"] == 2
    kept = [*STATE_COUNTS, "rows_pending", "dagster/partition_row_count"]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
