"""Two Celery workers compared with one, and what a run costs on a worker that has executed one before.

The workers are those of tests/workers, in network namespaces if this user may create them; Redis is required. The model
is a stub that sleeps, because two workers on one machine share its cores: the ratio shows what launcher, broker and
Dagster cost, and not how fast a model is. The overhead is the time between the starts of two runs on one worker,
without the time of the step.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.bench_tables import show
from tests.chaos.deployment import free_port
from tests.orchestration.columns import ENDED
from tests.support.servers import embedded_postgres
from tests.workers.cluster import Cluster, running_cluster
from tests.workers.hosts import network

_RUNS = 8


def backfill(cluster: Cluster) -> tuple[float, float]:
    """Embed all rows; return the seconds from the first start to the last end, and the median overhead of a run."""
    cluster.reset()
    launched = cluster.column.launch()
    while cluster.column.status(launched) not in ENDED:
        time.sleep(0.5)
    instance = cluster.column.instance
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": launched}))
    assert all(record.dagster_run.status == dg.DagsterRunStatus.SUCCESS for record in records)
    starts = sorted(record.start_time for record in records if record.start_time)
    ends = [record.end_time for record in records if record.end_time]
    return max(ends) - starts[0], overhead(instance, sorted(records, key=lambda record: record.start_time or 0))


def overhead(instance: dg.DagsterInstance, records: Sequence[dg.RunRecord]) -> float:
    """Return the median time between two starts on one worker, without the step of the earlier run."""
    last: dict[str, dg.RunRecord] = {}
    found = []
    for record in records:
        worker = record.dagster_run.tags["crdbvec/celery_worker"].partition("/")[2]
        earlier = last.get(worker)
        last[worker] = record
        if earlier is not None:
            (step, *_) = instance.get_run_step_stats(earlier.dagster_run.run_id)
            step_seconds = (step.end_time or 0) - (step.start_time or 0)
            found.append((record.start_time or 0) - (earlier.start_time or 0) - step_seconds)
    return statistics.median(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=200, help="rows of a run, which take 50 ms each")
    options = parser.parse_args()
    partitions = {"target_rows": options.rows, "max_per_run": 1}
    entry: dict[str, Any] = {"model": "stub_slow", "batch_size": 1, "workers": 1, "partitions": partitions}
    with embedded_postgres() as server, network(2) as hosts, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        rows = options.rows * _RUNS
        started = running_cluster(folder, hosts, server, rows, poll_seconds=10, port=free_port(), **entry)
        with started as cluster:
            backfill(cluster)
            both, cost_of_both = backfill(cluster)
            cluster.workers[1].stop()
            one, cost_of_one = backfill(cluster)
    table: list[list[object]] = [["1", one, rows / one, cost_of_one], ["2", both, rows / both, cost_of_both]]
    show(f"{_RUNS} runs of {options.rows} rows", ("workers", "seconds", "rows/s", "overhead of a run s"), table)
    print(f"2 workers / 1 worker: {one / both:.2f}")


if __name__ == "__main__":
    main()
