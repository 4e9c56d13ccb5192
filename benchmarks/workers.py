"""1, 2 and 4 workers, and several runs at once on one table, with the real model; rates and ratios in one run."""

import argparse
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


def embed(url: str, name: str, texts: list[str], encoder: Encoder, *, workers: int, runs: int) -> tuple[float, int]:
    """Rows a second of some runs side by side, each over its part of the table; and how many rows were embedded."""
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
    return len(texts) / seconds, sum(report.rows_embedded for report in reports)


def main() -> None:
    """Runs every combination and prints rates, with the ratio to one worker in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000)
    options = parser.parse_args()
    encoder = ModelRegistry().load(MODEL)
    encoder.encode([(0, "warm"), (1, "up")])
    texts = glosses(options.rows)
    figures: list[list[object]] = []
    with own_database() as url:
        for workers, runs in ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4)):
            rate, embedded = embed(url, f"w{workers}_r{runs}", texts, encoder, workers=workers, runs=runs)
            first = figures[0][3] if figures else rate
            figures.append([workers, runs, embedded, rate, rate / first])  # type: ignore[operator]
    show("workers and runs at once", ["workers", "runs", "rows embedded", "rows/s", "to the first"], figures)


if __name__ == "__main__":
    main()
