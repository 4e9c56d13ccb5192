"""Throughput of 1, 2 and 4 workers, and of several concurrent runs on one table, with the real model."""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench_tables import MODEL, fill, glosses, own_database, show
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange, ranges_between, uuid_bounds
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.report import RefreshReport

# Pairs of workers and concurrent runs; the first one is the baseline of the ratios.
_COMBINATIONS = ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4))


def embed(url: str, name: str, texts: list[str], encoder: Encoder, *, workers: int, runs: int) -> float:
    """Return the rows per second of concurrent runs, each on its part of a new table."""
    spec = fill(url, name, texts)
    with Database(url) as database:
        column = prepare_column(database, spec, encoder)
        parts = ranges_between(uuid_bounds(runs)) if runs > 1 else [KeyRange()]

        def run(part: KeyRange) -> RefreshReport:
            return refresh(VectorRows(column), encoder, part, options_for(spec, workers=workers))

        started = time.perf_counter()
        with ThreadPoolExecutor(runs) as pool:
            reports = list(pool.map(run, parts))
        seconds = time.perf_counter() - started
    assert sum(report.rows_embedded for report in reports) == len(texts), reports
    return len(texts) / seconds


def main() -> None:
    """Measure every combination in each round and print the median rates and their ratios to the baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    encoder = ModelRegistry().load(MODEL)
    texts = glosses(options.rows)
    # Warm-up: kernels are compiled with the first batch of each shape.
    encoder.encode(list(enumerate(texts)))
    with own_database() as url:
        rounds = [
            {
                (workers, runs): embed(url, f"w{workers}_r{runs}", texts, encoder, workers=workers, runs=runs)
                for workers, runs in _COMBINATIONS
            }
            for _ in range(options.rounds)
        ]
    baseline = _COMBINATIONS[0]
    show(
        f"{options.rows:,} rows, medians of {options.rounds} rounds",
        ["workers", "concurrent runs", "rows/s", "ratio"],
        [
            [
                *combination,
                statistics.median(rates[combination] for rates in rounds),
                statistics.median(rates[combination] / rates[baseline] for rates in rounds),
            ]
            for combination in _COMBINATIONS
        ],
    )


if __name__ == "__main__":
    main()
