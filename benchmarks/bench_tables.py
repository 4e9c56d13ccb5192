"""What the benchmarks share: a server of their own, tables of glosses, and figures printed as a table."""

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
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.statement import Statement
from crdbvec_pipelines.embedded import EmbeddedServer
from crdbvec_pipelines.encoding.weights import WeightsPackage, locate

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODEL = "hf_st_all_minilm_l6"
GLOSSES = Path(__file__).parent / "data" / "glosses.tsv.gz"
# pgvector's ef_construction is 64 by default; twice the time to build, and the same recall at half the effort.
INDEX = {"metric": "cosine", "ef_construction": 200}
_PACKAGE = WeightsPackage(
    "all_minilm_l6_v2", "model.zip", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)


@contextmanager
def own_server() -> Iterator[EmbeddedServer]:
    """An embedded server that ends with the benchmark."""
    with tempfile.TemporaryDirectory(prefix="crdbvec-bench-") as folder:
        server = EmbeddedServer(Path(folder) / "postgres")
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def own_database() -> Iterator[str]:
    """The URL of an empty database on a server of its own."""
    with own_server() as server:
        yield server.ensure_database("bench")


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a gzipped table of synsets."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def reference_model() -> "SentenceTransformer":
    """The model as plain sentence-transformers has it, on the processor and in float32."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(locate("sentence-transformers/all-MiniLM-L6-v2", _PACKAGE).directory), device="cpu")


def glosses(rows: int) -> list[str]:
    """The first `rows` glosses of the benchmarks' sample, 20,000 at most, in an order without meaning."""
    texts = [row["gloss"] for row in read_rows(GLOSSES)]
    random.Random(7).shuffle(texts)
    return texts[:rows]


def long_texts(rows: int) -> list[str]:
    """Texts of 200 to 300 tokens, each of some fifteen glosses."""
    pool = glosses(20_000)
    return ["; ".join(pool[15 * row % 19_000 : 15 * row % 19_000 + 15])[:1_200] for row in range(rows)]


def half_repeated(rows: int) -> list[str]:
    """Glosses of which each stands in the table twice, far apart."""
    texts = glosses(rows // 2)
    return texts + texts


def fill(url: str, table: str, texts: Sequence[str]) -> VectorColumn:
    """Makes a table of texts under UUID keys and returns the vector column to be filled."""
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
    """The name of each statement that is sent meanwhile, and its seconds."""
    sent: list[tuple[str, float]] = []
    run = Database._run

    def measured(self: Database, work: Any, statement: Statement) -> Any:
        started = time.perf_counter()
        try:
            return run(self, work, statement)
        finally:
            sent.append((statement.name, time.perf_counter() - started))

    with patch.object(Database, "_run", measured):
        yield sent


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints figures as a table."""
    table = Table(*headings, title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row))
    Console(width=110).print(table)
