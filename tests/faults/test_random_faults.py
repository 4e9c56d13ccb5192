"""Random faults with live writers: no wrong vector, no lost row, and every process ends with a documented exit code.

The ordinary suite runs a short form. `make stress` injects CRDBVEC_STRESS_FAULTS faults over CRDBVEC_STRESS_ROWS rows.
A failed test prints its seed, and CRDBVEC_STRESS_SEED repeats the choices of the faults and of the writers.
"""

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.orchestration.asset_names import asset_names
from tests.faults.canaries import PASSWORD
from tests.faults.faults import RandomFaults
from tests.faults.supervised import Supervised
from tests.faults.table import ENTRY, assert_table_is_right, correct_rejected, create_passages, live_writers
from tests.orchestration.daemon import prepare_home
from tests.support.models import CALLS_VARIABLE
from tests.support.processes import run, run_crdbvec, start, start_crdbvec
from tests.support.projects import write_config
from tests.support.proxy import Proxy
from tests.support.servers import RestartableServer, Server, restartable_postgres

pytestmark = pytest.mark.timeout(0 if os.environ.get("CRDBVEC_STRESS_FAULTS") else 240)

FAULTS = int(os.environ.get("CRDBVEC_STRESS_FAULTS", "0"))
ROWS = int(os.environ.get("CRDBVEC_STRESS_ROWS", "20000")) if FAULTS else 2_000
SEED = int(os.environ.get("CRDBVEC_STRESS_SEED") or (random.randrange(1_000_000) if FAULTS else 1))
SHORT_FORM_FAULTS = 10
PARTITIONS = 8
DATABASE = {"reply_timeout_seconds": 1}
# What the model takes for a batch, so that faults hit a process while it encodes.
_CALL_SECONDS = 0.02
# A final run has at most all rows to embed.
_FINAL_SECONDS = 600
# A process that is not killed by a fault runs until the end.
_SUPERVISED_SECONDS = 14_400

_DAGSTER = (sys.executable, "-m", "dagster")
_DEFINITIONS = ("-m", "crdbvec_pipelines.definitions")
_MATERIALIZE = (*_DAGSTER, "asset", "materialize", *_DEFINITIONS)
_FOLLOW_RUN = (*_DAGSTER, "job", "execute", *_DEFINITIONS, "-j", "passage_vector__follow")


@pytest.fixture(scope="module")
def server() -> Iterator[RestartableServer]:
    """The server of the table, which is stopped and started again."""
    with restartable_postgres() as server:
        yield server


@pytest.fixture
def direct_url(server: RestartableServer) -> Iterator[str]:
    """The URL of a new database on that server, without the proxy."""
    with server.new_database() as url:
        yield url


@pytest.fixture
def faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: RestartableServer, direct_url: str
) -> Iterator[RandomFaults]:
    """Random faults for processes in a folder, which connect to a database through a proxy."""
    with psycopg.connect(direct_url, autocommit=True) as connection:
        create_passages(connection, ROWS)
    write_config(tmp_path, {**ENTRY, "updated_at": "updated"}, database=DATABASE)
    proxy = Proxy(direct_url, PASSWORD)
    variables = {
        "CRDBVEC_URL": proxy.url,
        "CRDBVEC_TEST_SECONDS": str(_CALL_SECONDS),
        CALLS_VARIABLE: str(tmp_path / "calls.jsonl"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield RandomFaults(random.Random(SEED), proxy, server, direct_url, [])
    proxy.close()


def inject(faults: RandomFaults, processes: Sequence[Supervised], *, is_dagster: bool = False) -> None:
    """Run processes and writers during the faults, and check each end of a process."""
    print(f"seed {SEED}")
    faults.processes = processes
    for process in processes:
        process.begin()
    try:
        with live_writers(faults.url, ROWS, SEED):
            faults.inject(FAULTS or SHORT_FORM_FAULTS)
    finally:
        for process in processes:
            process.end()
    for process in processes:
        for end in process.ends:
            end.check(is_dagster=is_dagster)
    print("faults:", dict(sorted(faults.injected.items())))
    for process in processes:
        print(f"{process.name}: exit codes {dict(sorted(process.codes().items()))}")
    assert all(process.ends for process in processes)


def test_command_line(faults: RandomFaults, tmp_path: Path) -> None:
    def starter(*arguments: str) -> Callable[[Path], "subprocess.Popen[str]"]:
        def start_(output: Path) -> "subprocess.Popen[str]":
            with output.open("w", encoding="utf-8") as file:
                return start_crdbvec(arguments, tmp_path, output=file, limit_seconds=_SUPERVISED_SECONDS)

        return start_

    processes = [
        Supervised("embed", starter("embed"), tmp_path),
        Supervised("follow", starter("embed", "--follow"), tmp_path),
    ]
    inject(faults, processes)
    with psycopg.connect(faults.url, autocommit=True) as direct:
        correct_rejected(direct)
        completed = run_crdbvec(["embed", "--json"], tmp_path)
        assert completed.returncode == 0, completed.stderr
        assert json.loads(completed.stdout)["rows_pending"] == 0
        again = run_crdbvec(["embed", "--json"], tmp_path)
        report = json.loads(again.stdout)
        assert (again.returncode, report["rows_read"], report["rows_failed_recorded"]) == (0, 0, 0), again.stderr
        assert_table_is_right(direct)


@pytest.mark.skipif(not FAULTS, reason="a run takes too long to start: the long form, by `make stress`")
def test_dagster_runs(faults: RandomFaults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> None:
    """Runs of the follow job and of one partition take turns."""
    config = write_config(
        tmp_path,
        {**ENTRY, "updated_at": "updated", "partitions": {"target_rows": ROWS // PARTITIONS}},
        database=DATABASE,
    )
    names = asset_names(load_config(config))["public.passage.passage_vector"]
    numbers = itertools.count()
    with postgres.new_database() as storage:
        for name, value in prepare_home(tmp_path, config, faults.proxy.url, storage).items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:

            def command() -> Sequence[str]:
                partitions = instance.get_dynamic_partitions(names.partitions)
                number = next(numbers)
                if number % 2 == 0 or not partitions:
                    return _FOLLOW_RUN
                partition = partitions[number // 2 % len(partitions)]
                return (*_MATERIALIZE, "--select", "/".join(names.asset), "--partition", partition)

            def start_run(output: Path) -> "subprocess.Popen[str]":
                with output.open("w", encoding="utf-8") as file:
                    return start(command(), tmp_path, output=file, limit_seconds=_SUPERVISED_SECONDS)

            inject(faults, [Supervised("run", start_run, tmp_path)], is_dagster=True)
        with psycopg.connect(faults.url, autocommit=True) as direct:
            correct_rejected(direct)
            completed = run(_FOLLOW_RUN, tmp_path, limit_seconds=_FINAL_SECONDS)
            assert completed.returncode == 0, completed.stderr
            report = json.loads(run_crdbvec(["embed", "--json"], tmp_path).stdout)
            assert (report["rows_pending"], report["rows_failed_recorded"]) == (0, 0)
            assert_table_is_right(direct)
