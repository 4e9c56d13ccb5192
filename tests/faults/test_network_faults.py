"""Each fault of a network in the middle of `crdbvec embed`, of follow mode and of a Dagster run: each continues."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crdbvec_pipelines.config import load_config
from tests.faults.supervised import End
from tests.faults.table import assert_table_is_right, create_passages
from tests.orchestration.project import Project
from tests.support.models import CallLog
from tests.support.processes import run_crdbvec, start_crdbvec
from tests.support.proxy import BOTH, Proxy
from tests.support.waiting import wait_until

ROWS = 400
# Batches of five rows between two faults.
_BATCHES_BETWEEN = 3


def _cut(proxy: Proxy) -> bool:
    return proxy.cut("fin") > 0


def _reset(proxy: Proxy) -> bool:
    return proxy.cut("rst") > 0


def _swallow(proxy: Proxy) -> bool:
    return proxy.swallow(*BOTH) > 0


def _swallow_answers(proxy: Proxy) -> bool:
    return proxy.swallow("to_client") > 0


def _stall(proxy: Proxy) -> bool:
    with proxy.stalled(*BOTH):
        time.sleep(0.5)
    return True


def _delay(proxy: Proxy) -> bool:
    proxy.delay_seconds = 0.02
    time.sleep(0.5)
    proxy.delay_seconds = 0
    return True


def _truncate(proxy: Proxy) -> bool:
    proxy.truncate_next_answer()
    wait_until(lambda: proxy.answers_truncated > 0)
    return True


def _cut_after_commit(proxy: Proxy) -> bool:
    proxy.cut_after_next_commit()
    wait_until(lambda: proxy.commits_cut > 0)
    return True


FAULTS: Mapping[str, Callable[[Proxy], bool]] = {
    "cut": _cut,
    "reset": _reset,
    "stall": _stall,
    "delay": _delay,
    "truncated answer": _truncate,
    "cut after a commit": _cut_after_commit,
    "swallowed": _swallow,
    "answers swallowed": _swallow_answers,
}


def inject_all(proxy: Proxy, calls: CallLog, is_running: Callable[[], bool]) -> None:
    """Inject each fault after further batches, and assert that the work continues after each."""
    for name, inject in FAULTS.items():
        wanted = len(calls.batches()) + _BATCHES_BETWEEN
        wait_until(lambda: len(calls.batches()) >= wanted or not is_running())  # noqa: B023
        assert is_running(), f"the work ended before the fault {name}"
        assert inject(proxy), f"the fault {name} had no effect"
    wanted = len(calls.batches()) + 1
    wait_until(lambda: len(calls.batches()) >= wanted or not is_running())


@contextmanager
def injected(proxy: Proxy, calls: CallLog) -> Iterator[None]:
    """Inject each fault while the block runs in this thread."""
    errors: list[BaseException] = []
    ended = threading.Event()

    def inject() -> None:
        try:
            inject_all(proxy, calls, lambda: not ended.is_set())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=inject)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert errors == []


def test_embed_continues_after_each_fault(
    proxy: Proxy, direct: psycopg.Connection, project: Path, calls: CallLog
) -> None:
    create_passages(direct, ROWS)
    process = start_crdbvec(["embed", "--json"], project)
    inject_all(proxy, calls, lambda: process.poll() is None)
    stdout, stderr = process.communicate()
    End("embed", process.returncode, stdout + stderr).check()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["rows_pending"] == 0
    assert_table_is_right(direct)
    again = run_crdbvec(["embed", "--json"], project)
    assert (again.returncode, json.loads(again.stdout)["rows_read"]) == (0, 0), again.stderr


def test_follow_continues_after_each_fault(
    proxy: Proxy, direct: psycopg.Connection, project: Path, calls: CallLog
) -> None:
    create_passages(direct, ROWS)
    process = start_crdbvec(["embed", "--follow"], project)
    inject_all(proxy, calls, lambda: process.poll() is None)
    wait_until(lambda: direct.execute("SELECT 1 FROM passage WHERE passage_vector IS NULL").fetchone() is None)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    End("follow", process.returncode, stdout + stderr).check()
    assert process.returncode == 0, stderr
    assert_table_is_right(direct)


@pytest.mark.parametrize("action", ["encode_in_process", "follow"])
def test_dagster_run_continues_after_each_fault(
    proxy: Proxy,
    direct: psycopg.Connection,
    project: Path,
    calls: CallLog,
    instance: dg.DagsterInstance,
    action: str,
) -> None:
    create_passages(direct, ROWS)
    dagster = Project(load_config(project / "crdbvec.yaml"), instance)
    dagster.prepare()
    (partition,) = dagster.partitions
    with injected(proxy, calls):
        result = dagster.run(action, partition_key=partition if action == "encode_in_process" else None)
    assert result.success
    assert_table_is_right(direct)
    assert set(dagster.materialized()) == set(dagster.partitions)
