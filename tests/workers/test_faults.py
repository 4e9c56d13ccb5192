"""Runs by Celery on two hosts, while workers are killed, the broker is restarted and a host is cut off.

The ordinary suite runs a short form. `make workers` runs CRDBVEC_WORKERS_ROUNDS rounds of the long form, with twenty
partitions, host names of their own and the settings of deploy/celery/dagster.yaml as they are.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.deployment import free_port
from tests.support.servers import Server, open_folder
from tests.workers.cluster import Cluster, running_cluster
from tests.workers.hosts import network
from tests.workers.redis_server import NEEDS_REDIS, SERVER

ROUNDS = int(os.environ.get("CRDBVEC_WORKERS_ROUNDS", "0"))
PARTITION_ROWS = 25
# Longer than the two missed pings after which a worker must not be taken for dead.
CUT_OFF_SECONDS = 20 if ROUNDS else 4
POLL_SECONDS = 10 if ROUNDS else 1

pytestmark = [pytest.mark.timeout(0 if ROUNDS else 600), pytest.mark.skipif(SERVER is None, reason=NEEDS_REDIS)]


@pytest.fixture
def cluster(postgres: Server) -> Iterator[Cluster]:
    """Two workers, and a table with twenty partitions; six in the short form."""
    partitions = {"target_rows": PARTITION_ROWS, "max_per_run": 2 if ROUNDS else 3}
    texts = [f"passage {number}" for number in range(PARTITION_ROWS * (20 if ROUNDS else 6))]
    entry: dict[str, Any] = {"model": "stub_slow", "batch_size": 1, "workers": 1, "partitions": partitions}
    with open_folder() as folder, network(2) as hosts:
        started = running_cluster(folder, hosts, postgres, texts, poll_seconds=POLL_SECONDS, port=free_port(), **entry)
        with started as running:
            yield running


def test_backfill_survives_all_faults(cluster: Cluster) -> None:
    for number in range(max(1, ROUNDS)):
        cluster.reset()
        survive_all_faults(cluster, number)


def survive_all_faults(cluster: Cluster, number: int) -> None:
    """Launch a backfill, and let one fault follow the other."""
    first, second = cluster.workers
    started = time.monotonic()
    backfill = cluster.column.launch()

    cluster.wait_until(lambda: cluster.run_in_progress_on(first) and cluster.encoded() >= 5)
    first.kill()
    killed = time.monotonic()
    first.start()

    cluster.wait_until(lambda: cluster.run_in_progress_on(second))
    cluster.broker.kill()
    time.sleep(1)
    cluster.broker.start()

    cluster.wait_until(lambda: cluster.run_in_progress_on(second) or cluster.run_in_progress_on(first))
    with second.host.cut_off(second.tables):
        time.sleep(CUT_OFF_SECONDS)

    cluster.finish(backfill)
    runs = cluster.column.runs(backfill)
    failed = [run for run in runs if run.status.value == "FAILURE"]
    ended = time.monotonic()
    print(
        f"round {number}: {ended - started:.0f} s, {ended - killed:.0f} s after the first fault, {len(runs)} runs, "
        f"{len(failed)} failed, {cluster.column.repeated()} rows encoded twice",
        flush=True,
    )
    # Only the run of the killed worker has failed: the others have survived the broker and the network.
    assert len(failed) == 1, cluster.describe()
    cluster.wait_until(first.is_ready)
