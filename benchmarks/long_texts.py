"""Facts in the last tenth of long texts: found by the start of a text, by its mean, by its chunks, and with keywords.

Each text has from 50 to 5,000 tokens, evenly by their logarithm: of glosses of WordNet, which are unrelated sentences,
or of the sentences of one of Python's manuals (`question_kinds`). Half of the texts have a generated fact in their last
tenth, which one question asks for in other words; some seven texts have facts about the same place. Recall@10 does not
depend on the machine, but on the version of Python, from which the manuals come; the encoding rates do.
The ratio compares dividing and encoding texts with encoding the same chunks alone, both in processor time, which other
work on the machine does not change.

    python -m benchmarks.long_texts                   # 200 texts, 100 questions
    python -m benchmarks.long_texts --texts 50        # a short run
"""

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import psycopg

from benchmarks.bench_tables import MODEL, glosses, own_database, show
from benchmarks.question_kinds import divide_sentences, documents
from crdbvec_pipelines.config import vector_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.encoding.chunks.chunk_encoder import ChunkEncoder
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.engine import refresh
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.search.evaluation import Evaluation
from crdbvec_pipelines.search.index_build import build_text_index_when_covered
from crdbvec_pipelines.search.questions import Question
from crdbvec_pipelines.search.searcher import Searcher

K = 10
_MIN_TOKENS, _MAX_TOKENS = 50, 5_000
_ROUNDS = 5
_MANUALS = 10
# Long inputs, and the sizes of chunks besides the default one.
_VARIANTS: Mapping[str, Mapping[str, object]] = {
    "truncate": {"long_inputs": "truncate"},
    "mean": {"long_inputs": "mean"},
    "chunks": {"long_inputs": "chunks"},
    "chunks of 200": {"long_inputs": "chunks", "chunks": {"size": 200, "overlap": 20}},
}
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


_glosses = cache(glosses)
_documents = cache(documents)


def unrelated_sentences(choose: random.Random) -> Iterator[str]:
    """Yield glosses in random order, each as a sentence."""
    while True:
        gloss = choose.choice(_glosses(20_000)).split(";")[0].strip()
        yield f"{gloss[:1].upper()}{gloss[1:]}."


def sentences_of_a_manual(choose: random.Random) -> Iterator[str]:
    """Yield the sentences of one of the longest manuals, from a random one on; after the last, the first follows."""
    sentences = divide_sentences(choose.choice(_documents(_MANUALS)))
    first = choose.randrange(len(sentences))
    yield from itertools.cycle([*sentences[first:], *sentences[:first]])


FILLERS: Mapping[str, Callable[[random.Random], Iterator[str]]] = {
    "unrelated sentences": unrelated_sentences,
    "manuals": sentences_of_a_manual,
}


def make_texts(
    count: int, filler: Callable[[random.Random], Iterator[str]], seed: int = 11
) -> tuple[list[str], list[Question]]:
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
        length = 0
        for sentence in filler(choose):
            sentences.append(sentence)
            length += len(sentence.split())
            if length >= words:
                break
        if row % 2 == 0:
            (fact, question), place = facts[(row // 2) % len(facts)]
            names = {"name": choose.choice(_NAMES), "place": place}
            late = max(len(sentences) - max(1, len(sentences) // 10), 0)
            sentences.insert(choose.randint(late, len(sentences)), fact.format(**names))
            questions.append(Question(question.format(**names), ((str(row),),), kind=""))
        paragraphs = [" ".join(sentences[start : start + 5]) for start in range(0, len(sentences), 5)]
        texts.append("\n\n".join(paragraphs))
    return texts, questions


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


def compare(url: str, filler: str, count: int) -> tuple[list[list[object]], list[str]]:
    """Embed the texts of a filler in all ways; return the rows of the table of results, and the texts."""
    texts, questions = make_texts(count, FILLERS[filler])
    table = f"article_{[*FILLERS].index(filler)}"
    registry = ModelRegistry()
    rows: list[list[object]] = []
    with Database(url) as database, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {table} (id INT8 PRIMARY KEY, body TEXT)".encode())
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)".encode(), list(enumerate(texts)))
        for number, (name, settings) in enumerate(_VARIANTS.items()):
            spec = vector_column(
                table=table, input="body", output=f"v_{number}", model=MODEL, text_index={}, **dict(settings)
            )
            encoder = registry.encoder_of(spec)
            started = time.process_time()
            refresh(VectorRows(prepare_column(database, spec, encoder)), encoder, KeyRange(), options_for(spec))
            seconds = time.process_time() - started
            vectors = sum(map(len, encoder.divide(texts))) if isinstance(encoder, ChunkEncoder) else len(texts)
            searcher = Searcher(database, spec, encoder)
            build_text_index_when_covered(searcher.column)
            found = [f"{each.recall.value:.2f}" for each in Evaluation(searcher, questions, K).qualities()]
            rows.append([f"{filler}: {name}", *found, vectors, f"{seconds:.1f}"])
            print(*rows[-1], sep="  ", flush=True)
    return rows, texts


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--fillers", nargs="+", choices=[*FILLERS], default=[*FILLERS])
    arguments = parser.parse_args()
    rows = []
    with own_database() as url:
        for filler in arguments.fillers:
            found, texts = compare(url, filler, arguments.texts)
            rows += found
    show(
        f"{arguments.texts} texts, {arguments.texts // 2} questions, recall@{K}",
        ["texts", "vectors", "keywords", "hybrid", "number of vectors", "processor s"],
        rows,
    )
    registry = ModelRegistry()
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
