"""A code location with many vector columns, one of which has many partitions: what Dagster has to load and to read.

By default 200 columns and 4,096 partitions. Measured are the definitions as the code server loads them, and the
partitions as `sync_partitions` adds them, as runs and ticks read them, and as the page of the asset shows them. Each
value is the median of three, except that of the addition.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg

from benchmarks.bench_tables import own_server, show
from crdbvec_pipelines.config import parse_config
from crdbvec_pipelines.orchestration.asset_names import asset_names
from crdbvec_pipelines.orchestration.build import build_definitions
from crdbvec_pipelines.orchestration.instance.dagster_internals import materialized_partitions
from crdbvec_pipelines.orchestration.instance.in_progress import find_work_in_progress
from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, sqlalchemy_url

_REPETITIONS = 3
INSTANCE = """
storage: {custom: {module: crdbvec_pipelines.orchestration.instance.storage, class: PostgresStorage, config: {}}}
telemetry: {enabled: false}
"""


def seconds(work: Callable[[], object]) -> float:
    """Return the median time of some work."""
    found = []
    for _ in range(_REPETITIONS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def measure(columns: int, partitions: int, folder: Path) -> list[list[object]]:
    """Return what was measured, the seconds that it took, and the milliseconds for each column or partition."""
    vectors = [
        {"table": f"public.t{number}", "input": "body", "output": "v", "model": "hf_st_all_minilm_l6"}
        for number in range(columns)
    ]
    config = parse_config({"database": {"url": "postgresql://none.invalid/d"}, "vectors": vectors}, "here", folder)
    names = asset_names(config)[str(config.vectors[0])]
    asset = dg.AssetKey(names.asset)
    keys = [f"public:t0::i{number}::i{number + 1}" for number in range(partitions)]
    stuck = timedelta(hours=12)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.add_dynamic_partitions(names.partitions, keys[:1])
        started = time.perf_counter()
        instance.add_dynamic_partitions(names.partitions, keys[1:])
        added = time.perf_counter() - started
        for key in keys[:100]:
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))
        found = [
            ("definitions are built", columns, seconds(lambda: build_definitions(config))),
            ("definitions are resolved", columns, seconds(lambda: build_definitions(config).get_repository_def())),
            ("partitions are added", partitions, added),
            ("partitions are read", partitions, seconds(lambda: instance.get_dynamic_partitions(names.partitions))),
            (
                "work in progress is found",
                partitions,
                seconds(lambda: find_work_in_progress(instance, names, keys, stuck)),
            ),
            ("statuses are read", partitions, seconds(lambda: materialized_partitions(instance, names, keys))),
        ]
    return [[what, each, each / count * 1_000] for what, count, each in found]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--partitions", type=int, default=4_096)
    options = parser.parse_args()
    with own_server() as server, tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as name:
        os.environ[URL_VARIABLE] = sqlalchemy_url(server.ensure_database("dagster"))
        folder = Path(name)
        (folder / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
        found = measure(options.columns, options.partitions, folder)
    show(
        f"{options.columns:,} vector columns, {options.partitions:,} partitions", ("what", "seconds", "ms each"), found
    )


if __name__ == "__main__":
    main()
