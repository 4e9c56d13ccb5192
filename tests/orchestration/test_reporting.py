"""What Dagster is told of work outside its runs: the touched partitions, a few times a minute at most."""

from collections import Counter
from collections.abc import Iterator

import pytest

from crdbvec_pipelines.following import Round
from crdbvec_pipelines.keyspace import KeyRange, ranges_between
from crdbvec_pipelines.orchestration.reporting import MaterializationReporter
from crdbvec_pipelines.refresh import RefreshReport
from tests.orchestration.project import Project, project

RANGES = ranges_between([(10,), (20,)])
KEYS = ["public:passage::min::i10", "public:passage::i10::i20", "public:passage::i20::max"]

CUT_FURTHER = ["public:passage::i20::i30", "public:passage::i30::max"]


@pytest.fixture
def made() -> Iterator[Project]:
    """A column with three partitions; nobody asks the database."""
    with project("postgresql://nobody@nowhere/none") as found:
        found.instance.add_dynamic_partitions(found.names.partitions, KEYS)
        yield found


def reporter(made: Project) -> MaterializationReporter:
    return MaterializationReporter(made.instance, made.spec, made.names)


def done(*touched: KeyRange) -> Round:
    return Round(RefreshReport(rows_embedded=len(touched)), Counter(touched))


def embedded(made: Project) -> dict[str, int]:
    return {key: metadata["rows_embedded"] for key, metadata in made.materialized().items()}


def test_partitions_are_known_in_key_order(made: Project) -> None:
    made.instance.delete_dynamic_partition(made.names.partitions, KEYS[0])
    made.instance.add_dynamic_partitions(made.names.partitions, KEYS[:1])
    assert reporter(made).ranges() == RANGES


def test_where_partitions_leave_a_gap_nothing_is_told(made: Project) -> None:
    made.instance.delete_dynamic_partition(made.names.partitions, KEYS[1])
    assert reporter(made).ranges() == []


def test_a_partition_that_somebody_added_by_hand_is_passed_over(made: Project) -> None:
    made.instance.add_dynamic_partitions(made.names.partitions, ["nonsense"])
    assert reporter(made).ranges() == RANGES


def test_the_first_round_is_told_at_once_and_the_next_ones_together(made: Project) -> None:
    told = reporter(made)
    told.add(done(RANGES[0], RANGES[0], RANGES[2]))
    assert embedded(made) == {KEYS[0]: 2, KEYS[2]: 1}
    told.add(done(RANGES[0]))
    told.add(done(RANGES[1], RANGES[0]))
    assert embedded(made) == {KEYS[0]: 2, KEYS[2]: 1}
    told.flush()
    assert embedded(made) == {KEYS[0]: 2, KEYS[1]: 1, KEYS[2]: 1}
    count = len(made.instance.fetch_materializations(made.asset, limit=100).records)
    told.flush()
    assert len(made.instance.fetch_materializations(made.asset, limit=100).records) == count == 4


def test_it_tells_when_it_has_reported_so_that_partitions_are_read_anew(made: Project) -> None:
    told = reporter(made)
    assert told.add(done(RANGES[0]))
    assert not told.add(done(RANGES[0]))
    made.instance.add_dynamic_partitions(made.names.partitions, CUT_FURTHER)
    made.instance.delete_dynamic_partition(made.names.partitions, KEYS[2])
    assert told.ranges() == ranges_between([(10,), (20,), (30,)])
