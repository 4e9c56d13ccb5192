"""Facts in the last tenth of long texts: found by the start of a text, by its mean, by its chunks, and with keywords.

Each text consists of glosses of WordNet, from 50 to 5,000 tokens, evenly by their logarithm. Half of the texts have a
generated fact in their last tenth, which one question asks for in other words. Recall@10 does not depend on the
machine; the encoding rates do.
The ratio compares dividing and encoding texts with encoding the same chunks alone, both in processor time, which other
work on the machine does not change.

    python -m benchmarks.long_texts                   # 200 texts, 100 questions
    python -m benchmarks.long_texts --texts 50        # a short run
"""

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from benchmarks.bench_tables import MODEL, glosses, own_database, show
from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.search.query import SearchMode, SearchQuery
from crdbvec_pipelines.encoding.chunks.chunk_encoder import ChunkEncoder
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.search.searcher import Searcher

K = 10
_MIN_TOKENS, _MAX_TOKENS = 50, 5_000
_ROUNDS = 5
_NAMES = ("Abel", "Brita", "Casimir", "Dagny", "Edvard", "Freya", "Gustav", "Hedda", "Ivar", "Jorun", "Kasper", "Nora")
_PLACES = (
    *("Aldvik", "Bornholt", "Cresmoor", "Dunsby", "Elverum", "Fjordal", "Grimsey"),
    *("Halden", "Islund", "Karmoy", "Lindholm", "Morvik", "Narvik", "Olden"),
)
_FACTS = (
    ("{name} repaired the lighthouse of {place} after the fire.", "who restored the beacon at {place}"),
    ("The bakery in {place} belongs to {name} and opens at dawn.", "owner of the bread shop in {place}"),
    ("In {place}, {name} teaches children to play the violin.", "music teacher of {place}"),
    (
        "{name} won the sailing race from {place} to the islands.",
        "winner of the boat competition that began in {place}",
    ),
    ("The old bridge of {place} was designed by {name}.", "architect of the river crossing at {place}"),
    ("{name} keeps forty bees' hives behind the church of {place}.", "beekeeper of {place}"),
    ("The doctor of {place} is called {name} and lives by the harbor.", "physician in {place}"),
    ("{name} discovered silver in the hills above {place}.", "who found precious metal near {place}"),
)


@dataclass(frozen=True)
class Question:
    """A question and the row that answers it."""

    text: str
    row: int


def make_texts(count: int, sentences_of: Sequence[str], seed: int = 11) -> tuple[list[str], list[Question]]:
    """Return texts and the questions about those with an even number."""
    choose = random.Random(seed)
    facts = [(fact, place) for fact in _FACTS for place in _PLACES]
    choose.shuffle(facts)
    texts, questions = [], []
    for row in range(count):
        share = row / max(1, count - 1)
        # About 0.75 words per token of English.
        words = round(0.75 * _MIN_TOKENS * (_MAX_TOKENS / _MIN_TOKENS) ** share)
        sentences: list[str] = []
        while sum(len(each.split()) for each in sentences) < words:
            gloss = choose.choice(sentences_of).split(";")[0].strip()
            sentences.append(f"{gloss[:1].upper()}{gloss[1:]}.")
        if row % 2 == 0:
            (fact, question), place = facts[(row // 2) % len(facts)]
            names = {"name": choose.choice(_NAMES), "place": place}
            late = max(len(sentences) - max(1, len(sentences) // 10), 0)
            sentences.insert(choose.randint(late, len(sentences)), fact.format(**names))
            questions.append(Question(question.format(**names), row))
        paragraphs = [" ".join(sentences[start : start + 5]) for start in range(0, len(sentences), 5)]
        texts.append("\n\n".join(paragraphs))
    return texts, questions


def recall(database: Database, spec: VectorColumn, questions: Sequence[Question], mode: SearchMode) -> float:
    """Return the share of questions whose row is among the first ten hits."""
    registry = ModelRegistry()
    searcher = Searcher(database, spec, registry.encoder_of(spec))
    query = SearchQuery(limit=K, mode=mode)
    found = [searcher.search_texts([each.text], query)[0] for each in questions]
    return statistics.mean(
        each.row in [hit.key["id"] for hit in result.hits] for each, result in zip(questions, found, strict=True)
    )


def speed(encoder: ChunkEncoder, plain: Encoder, texts: Sequence[str]) -> tuple[float, float]:
    """Return the chunks per processor second with dividing the texts, and those of the same chunks alone, in turns."""
    divided = encoder.divide(texts)
    pieces = [text[start:end] for text, spans in zip(texts, divided, strict=True) for start, end in spans]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for one, inputs, times in ((encoder, texts, seconds[0]), (plain, pieces, seconds[1])):
            started = time.process_time()
            one.encode(list(enumerate(inputs)))
            times.append(time.process_time() - started)
    return len(pieces) / statistics.median(seconds[0]), len(pieces) / statistics.median(seconds[1])


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200)
    arguments = parser.parse_args()
    texts, questions = make_texts(arguments.texts, glosses(20_000))
    registry = ModelRegistry()
    rows = []
    with own_database() as url, Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE article (id INT8 PRIMARY KEY, body TEXT)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO article VALUES (%s, %s)", list(enumerate(texts)))
        for name in ("truncate", "chunks", "mean"):
            spec = vector_column(
                table="article", input="body", output=f"v_{name}", model=MODEL, long_inputs=name, text_index={}
            )
            encoder = registry.encoder_of(spec)
            started = time.process_time()
            refresh(VectorRows(prepare_column(database, spec, encoder)), encoder, KeyRange(), options_for(spec))
            seconds = time.process_time() - started
            modes: tuple[SearchMode, ...] = ("vector", "hybrid")
            found = [f"{recall(database, spec, questions, mode):.2f}" for mode in modes]
            rows.append([name, *found, f"{seconds:.1f}"])
    show(
        f"{len(texts)} texts, {len(questions)} questions, recall@{K}",
        ["long_inputs", "vectors", "hybrid", "processor s"],
        rows,
    )
    spec = vector_column(table="article", input="body", output="v", model=MODEL, long_inputs="chunks")
    divider = registry.encoder_of(spec)
    if isinstance(divider, ChunkEncoder):
        with_dividing, alone = speed(divider, registry.load(MODEL), texts[::20])
        show(
            "rates per second of processor time",
            ["encoding", "divided and encoded", "alone", "ratio"],
            [["chunks", f"{with_dividing:.1f}", f"{alone:.1f}", f"{with_dividing / alone:.2f}"]],
        )


if __name__ == "__main__":
    main()
