"""1, 2 and 4 workers, and several runs at once on one table, with the real model; rates and ratios in one run."""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench_tables import MODEL, fill, glosses, own_database, show
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows import VectorRows
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange, ranges_between, uuid_bounds
from crdbvec_pipelines.refresh import RefreshReport, refresh

_COMBINATIONS = ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4))


def embed(url: str, name: str, texts: list[str], encoder: Encoder, *, workers: int, runs: int) -> float:
    """Rows a second of some runs side by side, each over its part of the table."""
    column = fill(url, name, texts)
    with Database(url) as database:
        table = ensure_schema(database, column, encoder.dim, encoder.model_id)
        parts = ranges_between(uuid_bounds(runs)) if runs > 1 else [KeyRange()]

        def one(part: KeyRange) -> RefreshReport:
            rows = VectorRows(database, table, column, encoder.model_id)
            return refresh(rows, encoder, part, batch_size=column.batch_size, workers=workers)

        started = time.perf_counter()
        with ThreadPoolExecutor(runs) as pool:
            reports = list(pool.map(one, parts))
        seconds = time.perf_counter() - started
    assert sum(report.rows_embedded for report in reports) == len(texts), reports
    return len(texts) / seconds


def main() -> None:
    """Runs every combination in turns and prints rates, with the ratio to one worker in one run of the same round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    encoder = ModelRegistry().load(MODEL)
    texts = glosses(options.rows)
    # Kernels are made for each shape of batch once.
    encoder.encode(list(enumerate(texts)))
    with own_database() as url:
        rounds = [
            {
                (workers, runs): embed(url, f"w{workers}_r{runs}", texts, encoder, workers=workers, runs=runs)
                for workers, runs in _COMBINATIONS
            }
            for _ in range(options.rounds)
        ]
    first = _COMBINATIONS[0]
    show(
        f"{options.rows:,} rows, medians of {options.rounds} rounds",
        ["workers", "runs at once", "rows/s", "to the first"],
        [
            [
                *each,
                statistics.median(rates[each] for rates in rounds),
                statistics.median(rates[each] / rates[first] for rates in rounds),
            ]
            for each in _COMBINATIONS
        ],
    )


if __name__ == "__main__":
    main()
