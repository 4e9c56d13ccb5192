"""Each benchmark runs in a short form and prints its tables and ratios. The values of a short run mean nothing."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.processes import run_child, running_child, worker_pool
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

NUMBER = r"[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?%?"
# A benchmark that loads the model in several processes takes minutes on a busy machine.
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Printed:
    """A table that a benchmark must print: its column headings and the first cell of each row."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True)
class ShortRun:
    """The arguments of a short run, and what it must print: tables, and lines that match regular expressions."""

    arguments: tuple[str, ...]
    tables: tuple[Printed, ...]
    lines: tuple[str, ...] = ()


RECALL = Printed(("hnsw.ef_search", "recall@10", "worst", "p50 ms", "p95 ms"), ("10", "20", "40", "80", "160"))
# Daemon, broker and workers; processes that wait for each other; long texts; pictures; rerankers. Other tests run
# all of that.
LONG_FORMS = ("celery_workers", "limits", "limits_in_dagster", "long_texts", "pictures", "reranking", "ui_queries")
KINDS_OF_TEXT = ("glosses", "half_repeated", "long_texts")
SHORT_RUNS = {
    "backfill": ShortRun(
        ("--case", "60", "3"),
        (
            Printed(
                (
                    "rows / partitions",
                    "way",
                    "seconds",
                    "rows/s",
                    "runs",
                    "processes",
                    "statements",
                    "rows read per row",
                    "database s",
                    "peak MB",
                ),
                ("60 / 3 crdbvec embed", "60 / 3 Dagster backfill"),
            ),
            Printed(("rows / partitions", "backfill/embed", "seconds before the first run"), ("60 / 3",)),
        ),
    ),
    "celery_workers": ShortRun(
        ("--rows", "2"),
        (
            Printed(("workers", "seconds", "rows/s", "step s", "overhead of a run s", "uneven s", "load"), ("1", "2")),
            Printed(
                ("workers", "end_of_run", "in_queue_of_daemon", "in_broker", "start_of_run", "start_of_step"),
                ("1", "2"),
            ),
        ),
        (rf"2 workers / 1 worker: {NUMBER}",),
    ),
    "architectures": ShortRun(
        ("--rows", "8", "--rounds", "1", "--width", "32", "--layers", "1", "--models", "bert", "static"),
        (
            Printed(
                ("architecture", "engine", "rows/s", "sentence-transformers", "ratio", "cosine"),
                ("bert", "static"),
            ),
        ),
    ),
    "encode": ShortRun(
        ("--rows", "32", "--batch", "16", "--rounds", "1"),
        (
            Printed(
                ("backend", "rows/s", "ratio", "lowest cosine", "of float32 peak", "of bfloat16 peak"),
                ("PyTorch, float32", "OpenVINO, float32", "OpenVINO, auto"),
            ),
        ),
        (rf"peak: float32 {NUMBER} GFLOP/s, bfloat16 {NUMBER} GFLOP/s",),
    ),
    "end_to_end": ShortRun(
        ("--rows", "60", "--long-rows", "8", "--rounds", "1"),
        (
            Printed(("table", "embed", "(a) encoding alone", "(b) toolkit", "(c) by hand"), KINDS_OF_TEXT),
            Printed(("table", "embed/(a)", "embed/(b)", "embed/(c)"), KINDS_OF_TEXT),
        ),
        (rf"embed, half_repeated/glosses: {NUMBER}",),
    ),
    "limits": ShortRun(
        ("--rows", "3000", "--seconds", "1", "--processes", "1", "--rate", "200"),
        (
            Printed(
                ("rows/s", "share of the limit", "application p50 ms", "p99 ms", "p99 / idle"),
                ("idle", "max_rows_per_second: 200", "idle again", "no limit"),
            ),
        ),
    ),
    "limits_in_dagster": ShortRun(
        ("--rows", "4000", "--seconds", "1", "--runs", "2", "--rate", "100"),
        (Printed(("max_rows_per_second", "rows/s", "share of the limit"), ("100",)),),
    ),
    "locks": ShortRun(
        ("--rows", "2000", "--seconds", "1", "--rounds", "1"),
        (Printed(("application", "updates", "p50", "p99", "longest"), ("alone", "next to a refresh")),),
        (rf"p99 next to a refresh minus alone: -?{NUMBER} ms", rf"rows embedded next to the application: {NUMBER}"),
    ),
    "many_columns": ShortRun(
        ("--columns", "2", "--partitions", "5"),
        (
            Printed(
                ("what", "seconds", "ms each"),
                (
                    "definitions are built",
                    "definitions are resolved",
                    "partitions are added",
                    "partitions are read",
                    "work in progress is found",
                    "statuses are read",
                ),
            ),
        ),
    ),
    "ui_queries": ShortRun(
        ("--columns", "4", "--partitions", "8"),
        (
            Printed(
                ("query", "seconds of a quarter", "seconds", "ratio"),
                (
                    "catalog: AssetRecordsQuery",
                    "catalog: AssetCatalogTableQuery",
                    "catalog: AssetGraphLiveQuery",
                    "catalog: AssetHealthQuery",
                    "asset: AssetViewDefinitionQuery",
                    "asset: AssetGraphLiveQuery",
                    "asset: PartitionHealthQuery",
                    "asset: RecentAssetEventsQuery",
                ),
            ),
        ),
    ),
    "memory": ShortRun(
        ("--scale", "0.02", "--rounds", "1"),
        (Printed(("inputs", "rows", "peak MB", "above 1 kB"), ("1 kB", "1 MB", "20 MB")),),
        (rf"rows/s with inputs of 1 kB and a model that takes no time: {NUMBER}",),
    ),
    "migration": ShortRun(
        ("--rows", "500", "--exchanges", "4", "--chunks", "2"),
        tuple(
            Printed(
                (heading, "p50 ms", "max ms"),
                (
                    "transaction of the switch",
                    f"exclusive lock of {table}",
                    "search, no switch",
                    "search, during switches",
                    "write, no switch",
                    "write, during switches",
                ),
            )
            for heading, table in (
                ("without chunks", "passage"),
                ("with chunks", "passage_passage_vector_chunks"),
            )
        ),
    ),
    "nearest": ShortRun(
        ("--rows", "3000"),
        (
            RECALL,
            Printed(("equal rows", "difference of distances", "p50 ms", "p95 ms"), ("exact", "index")),
            Printed(
                ("tenants", "rows each", "equal rows", "rows of other tenants", "index scans of 10", "p50 ms"),
                ("10 largest", "10 in the middle", "10 smallest"),
            ),
        ),
        (rf"index built in {NUMBER} s: {NUMBER} MB; vectors in full precision: {NUMBER} MB",),
    ),
    "long_texts": ShortRun(
        ("--texts", "4", "--fillers", "manuals"),
        (
            Printed(
                ("texts", "vectors", "keywords", "hybrid", "number of vectors", "processor s"),
                ("manuals: truncate", "manuals: mean", "manuals: chunks", "manuals: chunks of 200"),
            ),
            Printed(("encoding", "divided and encoded", "alone", "ratio"), ("chunks",)),
        ),
    ),
    "reranking": ShortRun(
        ("--rows", "60", "--searches", "1"),
        (
            Printed(
                ("texts", "rows", "search ms", "reranked ms", "added ms", "added / encoding 50 such texts"),
                ("glosses", "long_texts"),
            ),
        ),
    ),
    "retrieval": ShortRun(
        ("--rows", "100", "--queries", "10"),
        (
            Printed(("MRR@10", "recall@10", "p50 ms"), ("exact", "index, hnsw.ef_search", "sentence-transformers")),
            RECALL,
        ),
        (
            rf"100 glosses embedded in {NUMBER} s, indexed in {NUMBER} s",
            rf"sentence-transformers encoded the 100 glosses in {NUMBER} s",
        ),
    ),
    "scale": ShortRun(
        ("--rows", "1000", "2000"),
        (
            Printed(
                (
                    "rows",
                    "rows/s",
                    "us/row",
                    "database us/row",
                    "peak MB",
                    "MB before",
                    "partitions",
                    "planning us/row",
                ),
                ("1000", "2000"),
            ),
        ),
        (
            rf"ratios of 2,000 to 1,000 rows: time per row {NUMBER}, database time per row {NUMBER}, "
            rf"peak memory {NUMBER}",
            rf"{NUMBER} partitions planned and registered in {NUMBER} s",
            rf"definitions of 1 vector column: {NUMBER} s, of 100: {NUMBER} s, ratio {NUMBER}",
        ),
    ),
    "pictures": ShortRun(
        ("--pictures", "12", "--side", "60"),
        (Printed(("rejected by", "files"), ("damaged", "empty", "too_many_pixels", "unsupported_format")),),
        (
            r"of 12 pictures: 12 right, 0 rejected",
            rf"peak memory: {NUMBER} MB, -?{NUMBER} MB above",
            rf"pictures/s: {NUMBER}",
        ),
    ),
    "search_modes": ShortRun(
        ("--questions", "3"),
        (
            Printed(
                ("questions", "recall@10", "MRR@10", "nDCG@10"),
                (
                    "words of a synset to its gloss: hybrid",
                    "source file by docstring: keyword",
                    "manual, sentence from its last tenth: vector",
                    "log line by exact hexadecimal id: hybrid",
                    "mean of the kinds: hybrid",
                ),
            ),
        ),
    ),
    "sensor_tick": ShortRun(
        ("--rows", "1000", "2000"),
        (
            Printed(
                (
                    "embedded rows",
                    "partitions",
                    "statements",
                    "best",
                    "median",
                    "worst",
                    "first",
                    "whole tick",
                    "index",
                ),
                ("1,000", "2,000"),
            ),
        ),
        (rf"ratio of the best times, largest to smallest table: {NUMBER}",),
    ),
    "startup": ShortRun(
        ("--times", "1"),
        (
            Printed(
                ("command", "best", "median", "worst"),
                (
                    "reference: import Dagster",
                    "crdbvec search, whole process",
                    "crdbvec embed, to the first row",
                    "follow run, from launch to the first row",
                ),
            ),
        ),
    ),
    "workers": ShortRun(
        ("--rows", "60", "--rounds", "1"),
        (Printed(("workers", "concurrent runs", "rows/s", "ratio"), ("1 1", "2 1", "4 1", "1 2", "1 4")),),
    ),
}


def test_every_benchmark_has_a_short_run() -> None:
    runnable = {file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text()}
    assert runnable == SHORT_RUNS.keys()


@pytest.mark.timeout(LIMIT_SECONDS)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long_form] if name in LONG_FORMS else []) for name in SHORT_RUNS],
)
def test_benchmark_exits_with_0_and_prints_its_tables(name: str) -> None:
    expected = SHORT_RUNS[name]
    command = [sys.executable, "-m", f"benchmarks.{name}", *expected.arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS - 60)
    assert done.returncode == 0, done.stderr[-3_000:]
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for table in expected.tables:
        header = " ".join(table.columns)
        assert lines.count(header) == 1, f"{header!r} is not in:\n{done.stdout}"
        body = lines[lines.index(header) + 1 :]
        for cell in table.rows:
            row = next((line for line in body if line.startswith(f"{cell} ") or line == cell), None)
            assert row is not None, f"no row {cell!r} in:\n{done.stdout}"
            values = re.findall(NUMBER, row.removeprefix(cell))
            assert len(values) >= 2, row
            assert any(float(value.strip("%").replace(",", "")) > 0 for value in values), row
    for pattern in expected.lines:
        assert any(re.fullmatch(pattern, line) for line in lines), f"no line {pattern!r} in:\n{done.stdout}"


def load_nothing() -> None:
    """Initialize a worker process."""


def handles_signals_by_default(_: int) -> bool:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == [signal.SIG_DFL] * 2


def fail(_: int) -> None:
    raise ValueError


def test_workers_handle_signals_by_default_and_end_with_the_pool() -> None:
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with worker_pool(2, load_nothing) as pool:
            assert pool.map(handles_signals_by_default, [1, 2, 3]) == [True, True, True]
        with pytest.raises(ValueError), worker_pool(1, load_nothing) as pool:  # noqa: PT011
            pool.map(fail, [1])
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def test_processes_that_outlive_a_background_command_are_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = (
        "import subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "print(child.pid, flush=True); child.wait()"
    )
    with running_child([sys.executable, "-c", source], tmp_path, os.environ, log):
        wait_until(lambda: log.read_text().strip() != "")
    pid = int(log.read_text().split()[0])
    # The kernel ends a killed process shortly after the signal.
    wait_until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """Return whether a process is running; one that has ended but was not waited for is not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_child_that_fails_is_reported_with_its_error() -> None:
    with pytest.raises(RuntimeError, match=r"exited with 3:\nreason"):
        run_child([sys.executable, "-c", "import sys; print('reason', file=sys.stderr); sys.exit(3)"])
