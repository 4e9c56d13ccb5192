"""What reranking the first 50 hits adds to a search, for short and for long texts.

The reranker has the size of the built-in model and its tokenizer, and a last layer of random numbers, so only times are
measured. They depend on the machine; the ratios less.

    python -m benchmarks.reranking                    # 2,000 rows, 20 searches
    python -m benchmarks.reranking --rows 200 --searches 3
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.bench_tables import fill, glosses, long_texts, own_database, reference_model, show
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.search.reranking import RERANKED_HITS
from crdbvec_pipelines.search.searcher import Searcher

_TEXTS = {"glosses": glosses, "long_texts": long_texts}


def write_reranker(folder: Path) -> None:
    """Write the built-in model with one number for a pair of texts in place of a vector."""
    from transformers import AutoModelForSequenceClassification

    original = reference_model()
    with tempfile.TemporaryDirectory() as directory:
        original.save_pretrained(directory, create_model_card=False)
        model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=1)
        model.save_pretrained(folder)
    original.tokenizer.model_max_length = 512
    original.tokenizer.save_pretrained(folder)


def measure(database: Database, url: str, kind: str, reranker: Path, rows: int, searches: int) -> list[object]:
    """Return the row of the table of results for one kind of texts."""
    texts = _TEXTS[kind](rows)
    spec = fill(url, kind, texts).model_copy(update={"rerank": str(reranker)})
    registry = ModelRegistry()
    encoder = registry.encoder_of(spec)
    refresh(VectorRows(prepare_column(database, spec, encoder)), encoder, KeyRange(), options_for(spec))
    searcher = Searcher(database, spec, encoder, registry)
    queries = [" ".join(text.split()[:6]) for text in texts[:searches]]
    times: dict[bool, list[float]] = {False: [], True: []}
    # The models are loaded by the first searches.
    for query in (queries[0], *queries):
        for rerank, measured in times.items():
            started = time.perf_counter()
            searcher.search_texts([query], SearchQuery(rerank=rerank))
            measured.append(time.perf_counter() - started)
    plain, reranked = (1_000 * statistics.median(measured[1:]) for measured in times.values())
    passages = [text[:1_500] for text in texts[:RERANKED_HITS]]
    started = time.perf_counter()
    encoder.encode(list(enumerate(passages)))
    encoded = 1_000 * (time.perf_counter() - started)
    return [kind, len(texts), plain, reranked, reranked - plain, (reranked - plain) / encoded]


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--searches", type=int, default=20)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        own_database() as url,
        Database(url) as database,
    ):
        reranker = Path(folder) / "reranker"
        write_reranker(reranker)
        rows = [measure(database, url, kind, reranker, arguments.rows, arguments.searches) for kind in _TEXTS]
    show(
        f"searches by vectors, median of {arguments.searches}, and reranked: the first {RERANKED_HITS} hits",
        ["texts", "rows", "search ms", "reranked ms", "added ms", "added / encoding 50 such texts"],
        rows,
    )


if __name__ == "__main__":
    main()
