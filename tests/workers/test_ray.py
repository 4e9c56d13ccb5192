"""Runs by Ray on two nodes, one of which is killed: all of its processes at the same moment, as a machine ends."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from tests.chaos.deployment import free_port
from tests.orchestration.columns import ENDED, BackfilledColumn
from tests.orchestration.daemon import Daemon, prepare_home, running_daemon
from tests.support.models import CALLS_VARIABLE, CallLog
from tests.support.processes import ROOT
from tests.support.projects import write_config
from tests.support.servers import Server, open_folder
from tests.support.tables import INT_SHAPE, create_table

NEEDS_RAY = "needs the packages of crdbvec-pipelines[ray], which take 270 MB"
ray_cluster = pytest.importorskip("ray.cluster_utils", reason=NEEDS_RAY)
pytest.importorskip("dagster_ray", reason=NEEDS_RAY)

PARTITIONS, PARTITION_ROWS = 6, 40
ADDRESS = "http://ray-head:8265"
# A node takes one run of the example instance, which asks for two processors.
NODE = {"num_cpus": 2, "object_store_memory": 80 * 1024 * 1024}
HEAD = {"num_cpus": 0, "object_store_memory": 80 * 1024 * 1024, "include_dashboard": True}

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class RayProject:
    """A Ray cluster, Dagster's daemon, and a vector column."""

    cluster: Any
    daemon: Daemon
    column: BackfilledColumn

    def node_of(self, process_id: int) -> Any:
        """Return the node on which a process runs."""
        parents = {parent.pid for parent in psutil.Process(process_id).parents()}
        (node,) = (node for node in self.cluster.worker_nodes if raylet(node).pid in parents)
        return node

    def kill(self, node: Any) -> None:
        """Kill all processes of a node, those of runs included."""
        root = raylet(node)
        processes = [root, *root.children(recursive=True)]
        # None of them may see another one's end.
        for process in processes:
            process.suspend()
        for process in processes:
            process.kill()
        self.cluster.remove_node(node, allow_graceful=False)


def raylet(node: Any) -> psutil.Process:
    """Return the process of a node that starts the others."""
    (started,) = node.all_processes["raylet"]
    return psutil.Process(started.process.pid)


@pytest.fixture
def project(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayProject]:
    """Two nodes and a head without processors, and the instance of deploy/ray."""
    partitions = {"target_rows": PARTITION_ROWS, "max_per_run": 2}
    entry: dict[str, Any] = {"model": "stub_slow", "batch_size": 1, "workers": 1, "partitions": partitions}
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        url, storage = (stack.enter_context(postgres.new_database()) for _ in range(2))
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        texts = [f"passage {number}" for number in range(PARTITIONS * PARTITION_ROWS)]
        create_table(connection, INT_SHAPE, texts)
        config, calls = write_config(folder, entry), CallLog(folder / "calls.jsonl")
        variables = {
            **prepare_home(folder, config, url, storage),
            CALLS_VARIABLE: str(calls.path),
            "RAY_TMPDIR": str(folder),
            # The jobs call `dagster`.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        port = free_port()
        instance_file = (ROOT / "deploy" / "ray" / "dagster.yaml").read_text(encoding="utf-8")
        assert ADDRESS in instance_file
        changed = instance_file.replace(ADDRESS, f"http://127.0.0.1:{port}")
        (folder / "dagster.yaml").write_text(changed, encoding="utf-8")
        cluster = ray_cluster.Cluster(initialize_head=True, head_node_args={**HEAD, "dashboard_port": port})
        stack.callback(cluster.shutdown)
        for _ in range(2):
            cluster.add_node(**NODE)
        instance = stack.enter_context(dg.DagsterInstance.get())
        column = BackfilledColumn(config, instance, connection, calls, "passage_vector")
        yield RayProject(cluster, stack.enter_context(running_daemon(folder, interval_seconds=1)), column)


def test_run_of_a_killed_node_is_retried_on_another_one(project: RayProject) -> None:
    column, daemon = project.column, project.daemon
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    backfill = column.launch()
    daemon.wait_until(lambda: len(column.batches()) >= 5 and bool(column.instance.get_runs(started)))
    run = column.instance.get_runs(started)[0]
    daemon.wait_until(lambda: bool(column.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)))
    project.kill(project.node_of(column.process(run)))
    killed = time.time()

    daemon.wait_until(lambda: column.status(backfill) in ENDED)
    assert column.status(backfill) == BulkActionStatus.COMPLETED_SUCCESS
    column.assert_each_row_has_its_vector()
    assert column.instance.get_materialized_partitions(column.project.asset) == set(column.partitions)
    runs = column.runs(backfill)
    # The runs on the other node have not failed.
    assert [each.run_id for each in runs if each.status == dg.DagsterRunStatus.FAILURE] == [run.run_id]
    record = column.instance.get_run_record_by_id(run.run_id)
    assert record is not None
    assert record.end_time is not None
    print(f"noticed after {record.end_time - killed:.0f} s, {len(runs)} runs, {column.repeated()} rows encoded twice")
