"""Runs by Celery on two hosts with a queue each: where runs are executed, and how one of them is terminated."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from crdbvec_pipelines.orchestration.celery.workers import worker_of
from tests.chaos.deployment import free_port
from tests.orchestration.columns import ENDED
from tests.support.servers import Server, open_folder
from tests.workers.cluster import Cluster, running_cluster
from tests.workers.hosts import network
from tests.workers.redis_server import NEEDS_REDIS, SERVER

PARTITIONS, PARTITION_ROWS = 3, 40

pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(SERVER is None, reason=NEEDS_REDIS)]


@pytest.fixture
def cluster(postgres: Server) -> Iterator[Cluster]:
    """One worker for the default queue and one for the queue `gpu`, and a column whose runs belong to the latter."""
    entry: dict[str, Any] = {
        "model": "stub_slow",
        "batch_size": 1,
        "workers": 1,
        "partitions": {"target_rows": PARTITION_ROWS, "max_per_run": 1},
        "tags": {"crdbvec/queue": "gpu"},
    }
    texts = [f"passage {number}" for number in range(PARTITIONS * PARTITION_ROWS)]
    with open_folder() as folder, network(2) as hosts:
        queues = (None, "gpu")
        started = running_cluster(
            folder, hosts, postgres, texts, poll_seconds=1, port=free_port(), queues=queues, **entry
        )
        with started as running:
            yield running


def test_runs_are_executed_by_the_worker_of_their_queue_and_can_be_terminated(cluster: Cluster) -> None:
    column, (_, gpu) = cluster.column, cluster.workers
    backfill = column.launch()
    cluster.wait_until(lambda: cluster.run_in_progress_on(gpu) and cluster.encoded() >= 5)
    (run,) = column.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))

    # As the UI terminates a run.
    assert column.instance.run_coordinator.cancel_run(run.run_id)
    cluster.wait_until(lambda: column.status(backfill) in ENDED)
    canceled = column.instance.get_run_by_id(run.run_id)
    assert canceled is not None
    assert canceled.status == dg.DagsterRunStatus.CANCELED
    (partition,) = column.partitions_of(run)
    assert partition not in cluster.materialized
    # What was written is kept.
    assert 0 < column.pending()[partition] < PARTITION_ROWS

    later = column.launch()
    cluster.finish(later)
    runs = column.runs(backfill, later)
    assert len(runs) == 2 * PARTITIONS
    assert {worker_of(each) for each in runs} == {f"crdbvec@{gpu.host.name}"}
    # The process of the canceled run has executed the others, with its definitions and its model.
    assert len({column.process(each) for each in runs}) == 1
