"""Shared parts of the benchmarks: a temporary server, tables of glosses, timed statements, and tables of results."""

import csv
import gzip
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.database.session_pool import SessionPool
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.encoding.weights import WeightsPackage, locate_weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODEL = "hf_st_all_minilm_l6"
GLOSSES = Path(__file__).parent / "data" / "glosses.tsv.gz"
# pgvector's ef_construction is 64 by default. With 200 the build takes twice as long, and the same recall needs half
# the search effort.
INDEX = {"metric": "cosine", "ef_construction": 200}
_PACKAGE = WeightsPackage(
    "all_minilm_l6_v2", "model.zip", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)


@contextmanager
def own_server() -> Iterator[EmbeddedServer]:
    """Start an embedded server, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as folder:
        server = EmbeddedServer(Path(folder) / "postgres")
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def own_database() -> Iterator[str]:
    """Yield the URL of an empty database on a temporary server."""
    with own_server() as server:
        yield server.ensure_database("bench")


def read_rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a gzipped table of synsets."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def reference_model() -> "SentenceTransformer":
    """Return the model loaded by sentence-transformers alone, on the CPU and in float32."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(locate_weights("sentence-transformers/all-MiniLM-L6-v2", _PACKAGE).directory), device="cpu"
    )


def glosses(rows: int) -> list[str]:
    """Return the first `rows` glosses of the benchmarks' sample, at most 20,000, in random order."""
    texts = [row["gloss"] for row in read_rows(GLOSSES)]
    random.Random(7).shuffle(texts)
    return texts[:rows]


def long_texts(rows: int) -> list[str]:
    """Return texts of 200 to 300 tokens, each made of about fifteen glosses."""
    pool = glosses(20_000)
    return ["; ".join(pool[15 * row % 19_000 : 15 * row % 19_000 + 15])[:1_200] for row in range(rows)]


def half_repeated(rows: int) -> list[str]:
    """Return glosses, each of which occurs twice, half the table apart."""
    texts = glosses(rows // 2)
    return texts + texts


def fill(url: str, table: str, texts: Sequence[str]) -> VectorColumn:
    """Create a table of texts with UUID keys and return the vector column to fill."""
    name = sql.Identifier(table)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
        connection.execute(
            sql.SQL("CREATE TABLE {} (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), body TEXT)").format(name)
        )
        with connection.cursor().copy(sql.SQL("COPY {} (body) FROM STDIN").format(name)) as copy:
            for text in texts:
                copy.write_row((text,))
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(name))
    return vector_column(table=table, input="body", output="v", model=MODEL)


@contextmanager
def timed() -> Iterator[list[tuple[str, float]]]:
    """Yield a list to which each statement that is sent adds its name and its seconds."""
    sent: list[tuple[str, float]] = []
    run = SessionPool.run

    def measured(self: SessionPool, work: Any, statement: Statement, *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return run(self, work, statement, *arguments)
        finally:
            sent.append((statement.name, time.perf_counter() - started))

    with patch.object(SessionPool, "run", measured):
        yield sent


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print results as a table."""
    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row))
    console = Console(width=140, markup=False, highlight=False)
    console.print(title, table, sep="\n")
