"""Two Celery workers compared with one, and what a run costs on a worker that has executed one before.

The workers are those of tests/workers, in network namespaces if this user may create them; Redis is required. The model
is a stub that sleeps, because two workers on one machine share its cores: the ratio shows what launcher, broker and
Dagster cost, and not how fast a model is. With the built-in model, only the overhead of a run has a meaning.

The overhead is the time from the end of a step to the start of the next one on the same worker, by its parts, as the
events of both runs have logged them. The load is that of the machine in the last minute of the backfill.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.bench_tables import MODEL, glosses, show
from tests.chaos.deployment import free_port
from tests.orchestration.columns import ENDED
from tests.support.servers import embedded_postgres
from tests.workers.cluster import Cluster, running_cluster
from tests.workers.hosts import network

_RUNS = 8
_RECEIVED = "Executing the run on the Celery worker"


@dataclass(frozen=True)
class Moments:
    """When a run reached each point, in seconds since the epoch; `launched` is when it left Dagster's queue."""

    launched: float
    received: float
    started: float
    step_started: float
    step_ended: float
    ended: float


@dataclass(frozen=True)
class Overhead:
    """The seconds between two steps on one worker, by what passes in them."""

    end_of_run: float
    in_queue_of_daemon: float
    in_broker: float
    start_of_run: float
    start_of_step: float

    @property
    def total(self) -> float:
        """The seconds of all parts."""
        return float(sum(astuple(self)))


@dataclass(frozen=True)
class Backfill:
    """What was measured: seconds from the first start to the last end, of the median step, and the load.

    `uneven` are the seconds, on average of the workers, before a worker's first run and after its last one.
    """

    seconds: float
    step: float
    overhead: Overhead
    uneven: float
    load: float


def backfill(cluster: Cluster) -> Backfill:
    """Embed all rows, and return what was measured."""
    cluster.reset()
    launched = cluster.column.launch()
    while cluster.column.status(launched) not in ENDED:
        time.sleep(0.5)
    load = os.getloadavg()[0]
    instance = cluster.column.instance
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": launched}))
    assert all(record.dagster_run.status == dg.DagsterRunStatus.SUCCESS for record in records)
    runs = sorted((moments(instance, record) for record in records), key=lambda each: each[1].started)
    times = [each for _, each in runs]
    start, end = times[0].started, max(each.ended for each in times)
    firsts = {worker: each.started for worker, each in reversed(runs)}
    lasts = {worker: each.ended for worker, each in runs}
    return Backfill(
        end - start,
        statistics.median(each.step_ended - each.step_started for each in times),
        overhead(runs),
        statistics.mean(firsts[worker] - start + end - lasts[worker] for worker in firsts),
        load,
    )


def moments(instance: dg.DagsterInstance, record: dg.RunRecord) -> tuple[str, Moments]:
    """Return the worker of a run, and when the run reached each point."""
    run = record.dagster_run
    kinds = dg.DagsterEventType
    points = (
        kinds.PIPELINE_STARTING,
        kinds.ENGINE_EVENT,
        kinds.PIPELINE_START,
        kinds.STEP_START,
        kinds.STEP_SUCCESS,
        kinds.PIPELINE_SUCCESS,
    )
    times: dict[dg.DagsterEventType, float] = {}
    for entry in instance.all_logs(run.run_id, of_type=set(points)):
        event = entry.get_dagster_event()
        # Of the engine's events, that of the worker counts.
        if event.event_type is not kinds.ENGINE_EVENT or (event.message or "").startswith(_RECEIVED):
            times.setdefault(event.event_type, entry.timestamp)
    worker = run.tags["crdbvec/celery_worker"].partition("/")[2]
    return worker, Moments(*(times[point] for point in points))


def overhead(runs: Sequence[tuple[str, Moments]]) -> Overhead:
    """Return the median of each part of the overhead, of runs in the order of their starts."""
    last: dict[str, Moments] = {}
    found = []
    for worker, run in runs:
        if worker in last:
            found.append(_between(last[worker], run))
        last[worker] = run
    return Overhead(*(statistics.median(parts) for parts in zip(*map(astuple, found), strict=True)))


def _between(earlier: Moments, run: Moments) -> Overhead:
    free = max(earlier.ended, run.launched)
    return Overhead(
        earlier.ended - earlier.step_ended,
        free - earlier.ended,
        run.received - free,
        run.started - run.received,
        run.step_started - run.started,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, help="rows of a run; 200 of 50 ms each, or 2,000 with the built-in model")
    parser.add_argument("--built-in-model", action="store_true", help="embed glosses with the built-in model")
    options = parser.parse_args()
    rows = options.rows or (2_000 if options.built_in_model else 200)
    partitions = {"target_rows": rows, "max_per_run": 1}
    entry: dict[str, Any] = {"model": "stub_slow", "batch_size": 1, "workers": 1, "partitions": partitions}
    texts = [f"passage {number}" for number in range(rows * _RUNS)]
    if options.built_in_model:
        entry = {"model": MODEL, "partitions": partitions}
        texts = glosses(rows * _RUNS)
    with embedded_postgres() as server, network(2) as hosts, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        started = running_cluster(folder, hosts, server, texts, poll_seconds=10, port=free_port(), **entry)
        with started as cluster:
            backfill(cluster)
            both = backfill(cluster)
            cluster.workers[1].stop()
            one = backfill(cluster)
    print_results({"1": one, "2": both}, rows)


def print_results(found: Mapping[str, Backfill], rows: int) -> None:
    """Print the backfills by number of workers."""
    show(
        f"{_RUNS} runs of {rows:,} rows",
        ("workers", "seconds", "rows/s", "step s", "overhead of a run s", "uneven s", "load"),
        [
            [
                workers,
                each.seconds,
                rows * _RUNS / each.seconds,
                each.step,
                each.overhead.total,
                each.uneven,
                each.load,
            ]
            for workers, each in found.items()
        ],
    )
    show(
        "median seconds of the parts of the overhead",
        ("workers", *(field.name for field in fields(Overhead))),
        [[workers, *astuple(each.overhead)] for workers, each in found.items()],
    )
    print(f"2 workers / 1 worker: {found['1'].seconds / found['2'].seconds:.2f}")


if __name__ == "__main__":
    main()
