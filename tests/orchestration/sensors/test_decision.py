"""The decisions of the follow sensor, without a server."""

import itertools
from collections.abc import Mapping

import pytest

from crdbvec_pipelines.orchestration.instance.in_progress import WorkInProgress
from crdbvec_pipelines.orchestration.sensors.decision import (
    MAX_COUNTED_ROWS,
    Action,
    Decision,
    TickState,
    decide,
    pending_rows,
)

FOLLOW_RUN = WorkInProgress(whole_table=("0123456789ab", "ffffffffffff"))
BACKFILL = WorkInProgress(backfills=("backfill-1", "backfill-2"))
PARTITION_RUNS = [
    WorkInProgress(
        partition_runs=tuple(frozenset({f"public:passage::i{number}::i{number + 1}"}) for number in range(count))
    )
    for count in range(6)
]
EVERYTHING = WorkInProgress(FOLLOW_RUN.whole_table, PARTITION_RUNS[3].partition_runs, BACKFILL.backfills)
BACKOFF = "the last run failed, the next attempt is at 12:00:00 UTC"

SMALL_BACKLOG = 100
MAX_PARTITION_RUNS = 4


def state(**values: object) -> TickState:
    """Return the state of a prepared table with many pending rows, no work in progress and no other condition."""
    given = {"is_ready": True, "pending": 500, "small_backlog": SMALL_BACKLOG, "max_partition_runs": MAX_PARTITION_RUNS}
    return TickState("public.passage", **{**given, **values})  # type: ignore[arg-type]


def skip(reason: str) -> Decision:
    return Decision("skip", reason)


UNPREPARED = {
    "no obstacle": ({}, Decision("sync_partitions", "public.passage is not prepared yet")),
    "run": ({"work": FOLLOW_RUN}, skip("public.passage is not prepared yet; run 01234567 is in progress")),
    "backfill": ({"work": BACKFILL}, skip("public.passage is not prepared yet; backfill backfill-1 is in progress")),
    "one partition run": (
        {"work": PARTITION_RUNS[1]},
        skip("public.passage is not prepared yet; 1 partition run is in progress"),
    ),
    "partition runs": (
        {"work": PARTITION_RUNS[2]},
        skip("public.passage is not prepared yet; 2 partition runs are in progress"),
    ),
    "backoff": ({"backoff": BACKOFF}, skip(f"public.passage is not prepared yet; {BACKOFF}")),
    "run and backoff": (
        {"work": FOLLOW_RUN, "backoff": BACKOFF},
        skip("public.passage is not prepared yet; run 01234567 is in progress"),
    ),
}


@pytest.mark.parametrize(("values", "decision"), UNPREPARED.values(), ids=UNPREPARED)
@pytest.mark.parametrize("ignored", [{"pending": 0}, {"pending": 1}, {"pending": 500}, {"needs_split": True}], ids=str)
def test_table_that_is_not_prepared(
    values: Mapping[str, object], decision: Decision, ignored: Mapping[str, object]
) -> None:
    assert decide(state(is_ready=False, **ignored, **values)) == decision


IGNORED_WITHOUT_PENDING_ROWS = {
    "nothing": {},
    "run": {"work": FOLLOW_RUN},
    "partition run": {"work": PARTITION_RUNS[1]},
    "backfill and runs": {"work": EVERYTHING},
    "backoff": {"backoff": BACKOFF},
    "split": {"needs_split": True},
    "no backlog is small": {"small_backlog": 0},
}


@pytest.mark.parametrize("ignored", IGNORED_WITHOUT_PENDING_ROWS.values(), ids=IGNORED_WITHOUT_PENDING_ROWS)
def test_no_pending_rows_skip_the_tick_in_all_other_conditions(ignored: Mapping[str, object]) -> None:
    assert decide(state(pending=0, **ignored)) == skip("0 pending rows in public.passage")


@pytest.mark.parametrize("pending", [1, SMALL_BACKLOG, 500], ids="{} pending".format)
@pytest.mark.parametrize(
    ("work", "description"),
    [
        (FOLLOW_RUN, "run 01234567 is in progress"),
        (BACKFILL, "backfill backfill-1 is in progress"),
        (EVERYTHING, "backfill backfill-1 is in progress"),
        (WorkInProgress(FOLLOW_RUN.whole_table, PARTITION_RUNS[3].partition_runs), "run 01234567 is in progress"),
    ],
    ids=["run", "backfill", "backfill and runs", "run and partition runs"],
)
def test_run_over_the_whole_table_and_backfill_skip_the_tick(
    pending: int, work: WorkInProgress, description: str
) -> None:
    rows = "1 pending row" if pending == 1 else f"{pending} pending rows"
    assert decide(state(pending=pending, work=work)) == skip(f"{rows} in public.passage; {description}")


@pytest.mark.parametrize("pending", [SMALL_BACKLOG, 500], ids="{} pending".format)
@pytest.mark.parametrize("runs", range(len(PARTITION_RUNS)), ids="{} partition runs".format)
def test_backoff_skips_the_tick(pending: int, runs: int) -> None:
    decision = decide(state(pending=pending, work=PARTITION_RUNS[runs], backoff=BACKOFF))
    assert decision == skip(f"{pending} pending rows in public.passage; {BACKOFF}")


@pytest.mark.parametrize("pending", [SMALL_BACKLOG, 500], ids="{} pending".format)
@pytest.mark.parametrize("runs", range(len(PARTITION_RUNS)), ids="{} partition runs".format)
def test_last_partition_that_has_outgrown_its_size_is_split(pending: int, runs: int) -> None:
    decision = decide(state(pending=pending, work=PARTITION_RUNS[runs], needs_split=True))
    reason = f"{pending} pending rows in public.passage; the last partition has outgrown its size"
    assert decision == Decision("sync_partitions", reason)


BY_BACKLOG = {
    "one row": ({"pending": 1}, Decision("follow", "1 pending row in public.passage")),
    "two rows": ({"pending": 2}, Decision("follow", "2 pending rows in public.passage")),
    "small backlog": ({"pending": SMALL_BACKLOG}, Decision("follow", "100 pending rows in public.passage")),
    "small backlog and a partition run": (
        {"pending": SMALL_BACKLOG, "work": PARTITION_RUNS[1]},
        skip("100 pending rows in public.passage; 1 partition run is in progress"),
    ),
    "small backlog and partition runs": (
        {"pending": SMALL_BACKLOG, "work": PARTITION_RUNS[2]},
        skip("100 pending rows in public.passage; 2 partition runs are in progress"),
    ),
    "one more than small": (
        {"pending": SMALL_BACKLOG + 1},
        Decision("encode", "101 pending rows in public.passage", MAX_PARTITION_RUNS),
    ),
    "no backlog is small": (
        {"pending": 1, "small_backlog": 0},
        Decision("encode", "1 pending row in public.passage", MAX_PARTITION_RUNS),
    ),
    "large backlog and a partition run": (
        {"work": PARTITION_RUNS[1]},
        Decision("encode", "500 pending rows in public.passage", 3),
    ),
    "large backlog and one run fewer than the maximum": (
        {"work": PARTITION_RUNS[3]},
        Decision("encode", "500 pending rows in public.passage", 1),
    ),
    "large backlog and the maximum of runs": (
        {"work": PARTITION_RUNS[4]},
        skip("500 pending rows in public.passage; 4 partition runs are in progress"),
    ),
    "large backlog and more runs than the maximum": (
        {"work": PARTITION_RUNS[5]},
        skip("500 pending rows in public.passage; 5 partition runs are in progress"),
    ),
    "large backlog and at most one run": (
        {"max_partition_runs": 1},
        Decision("encode", "500 pending rows in public.passage", 1),
    ),
    "large backlog and the only run": (
        {"max_partition_runs": 1, "work": PARTITION_RUNS[1]},
        skip("500 pending rows in public.passage; 1 partition run is in progress"),
    ),
    "more rows than are counted": (
        {"pending": MAX_COUNTED_ROWS},
        Decision("encode", "at least 100,000 pending rows in public.passage", MAX_PARTITION_RUNS),
    ),
}


@pytest.mark.parametrize(("values", "decision"), BY_BACKLOG.values(), ids=BY_BACKLOG)
def test_size_of_the_backlog_decides_otherwise(values: Mapping[str, object], decision: Decision) -> None:
    assert decide(state(**values)) == decision


# The most important condition first.
PRIORITIES: Mapping[str, tuple[Mapping[str, object], Action, str]] = {
    "not prepared": ({"is_ready": False}, "sync_partitions", "not prepared yet"),
    "nothing pending": ({"pending": 0}, "skip", "0 pending rows"),
    "backfill": ({"work": BACKFILL}, "skip", "backfill-1"),
    "backoff": ({"backoff": BACKOFF}, "skip", BACKOFF),
    "split": ({"needs_split": True}, "sync_partitions", "outgrown"),
    "small backlog": ({"pending": SMALL_BACKLOG}, "follow", "100 pending rows"),
}
# Work in progress and backoff change the action for a table that is not prepared; UNPREPARED has these cases.
COMBINED = {("not prepared", "backfill"), ("not prepared", "backoff")}
PAIRS = [pair for pair in itertools.combinations(PRIORITIES, 2) if pair not in COMBINED]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_more_important_of_two_conditions_decides(first: str, second: str) -> None:
    values, action, reason = PRIORITIES[first]
    decision = decide(state(**{**PRIORITIES[second][0], **values}))
    assert decision.action == action
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 pending rows"),
        (1, "1 pending row"),
        (2, "2 pending rows"),
        (999, "999 pending rows"),
        (1_000, "1,000 pending rows"),
        (MAX_COUNTED_ROWS - 1, "99,999 pending rows"),
        (MAX_COUNTED_ROWS, "at least 100,000 pending rows"),
        (MAX_COUNTED_ROWS + 1, "at least 100,001 pending rows"),
    ],
)
def test_number_of_pending_rows_in_words(count: int, words: str) -> None:
    assert pending_rows(count) == words
