"""Rows with vectors that a test has made itself, and what a search over them must find, computed by numpy."""

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import psycopg
from numpy.typing import NDArray

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import Table, read_table
from crdbvec_pipelines.database.nearest import Nearest
from crdbvec_pipelines.database.vector_index import VectorIndex
from crdbvec_pipelines.encoding.contract import Metric
from tests.support.tables import column

Vectors = NDArray[np.float32]

METRICS: tuple[Metric, ...] = ("cosine", "l2", "ip")
_START = datetime(2024, 2, 28, 23, 59, tzinfo=UTC)
_NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


@dataclass(frozen=True)
class Entry:
    """One row: its key, its vector if it has one, and columns of several types to filter by."""

    id: int
    vector: Vectors | None
    tenant: str | None = None
    year: int | None = None
    open: bool | None = None
    uid: uuid.UUID | None = None
    moment: datetime | None = None

    @property
    def passage(self) -> str:
        return f"text {self.id}"


def random_vectors(count: int, dim: int = 8, seed: int = 0) -> Vectors:
    """Vectors without any order in them."""
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def clustered_vectors(count: int, dim: int, clusters: int, spread: float, seed: int = 0) -> Vectors:
    """Vectors in heaps, as those of texts are."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(clusters, dim))
    heaps = centres[random.integers(0, clusters, count)]
    return cast(Vectors, (heaps + spread * random.normal(size=(count, dim))).astype(np.float32))


def entries(vectors: Sequence[Vectors | None]) -> list[Entry]:
    """A row for each vector, with values in the other columns that repeat in different periods; some are NULL."""
    return [
        Entry(
            number,
            vector,
            None if number % 11 == 10 else f"tenant {number % 7}",
            None if number % 13 == 12 else 2000 + number % 5,
            None if number % 17 == 16 else number % 2 == 0,
            uuid.uuid5(_NAMESPACE, str(number % 6)),
            _START + timedelta(minutes=number % 4),
        )
        for number, vector in enumerate(vectors)
    ]


def create(connection: psycopg.Connection, rows: Sequence[Entry], dim: int = 8) -> None:
    """The table of these rows, with the vector column as `embed` would leave it."""
    if not is_cockroachdb(connection):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(
        "CREATE TABLE passage (id INT8 PRIMARY KEY, tenant TEXT, year INT4, open BOOL, uid UUID, moment TIMESTAMPTZ, "
        f"passage TEXT, passage_vector VECTOR({dim}))"
    )
    insert(connection, rows)


def insert(connection: psycopg.Connection, rows: Sequence[Entry]) -> None:
    """Adds rows, and lets the server count them."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO passage VALUES (%s, %s::TEXT, %s, %s, %s, %s, %s::TEXT, %s::VECTOR)",
            [
                (row.id, row.tenant, row.year, row.open, row.uid, row.moment, row.passage, vector_text(row.vector))
                for row in rows
            ],
        )
    connection.execute("ANALYZE passage")


def vector_text(vector: Vectors | None) -> str | None:
    """A vector as SQL reads it."""
    return None if vector is None else "[" + ",".join(f"{number:.9g}" for number in vector) + "]"


def preferring_indexes(url: str, **settings: object) -> str:
    """The URL with which PostgreSQL takes an index wherever it can: it likes to read small tables whole instead."""
    with psycopg.connect(url) as connection:
        if is_cockroachdb(connection):
            return url
    given = {"enable_seqscan": "off", **settings}
    options = "%20".join(f"-c%20{name}%3D{value}" for name, value in given.items())
    return f"{url}{'&' if '?' in url else '?'}options={options}"


def is_cockroachdb(connection: psycopg.Connection) -> bool:
    return connection.pgconn.parameter_status(b"crdb_version") is not None


def table_of(database: Database, spec: VectorColumn | None = None) -> Table:
    return read_table(database, (spec or column()).table)


def nearest(database: Database, metric: Metric = "cosine", **index: object) -> Nearest:
    """Searches over the vector column of these rows, as it is now."""
    spec = column(index=index or None)
    return Nearest(database, table_of(database, spec), spec, metric)


def vector_index(database: Database, metric: Metric = "cosine", dim: int = 8, **index: object) -> VectorIndex:
    """The vector index over these rows that a configuration asks for."""
    spec = column(index={"metric": metric, **index})
    return VectorIndex(database, table_of(database, spec), spec, metric, dim)


def distances(metric: Metric, vectors: Vectors, query: Vectors) -> NDArray[np.float64]:
    """What the server's operator of a metric gives."""
    many, one = vectors.astype(np.float64), query.astype(np.float64)
    products: NDArray[np.float64] = many @ one
    if metric == "ip":
        return -products
    if metric == "l2":
        return np.sqrt(((many - one) ** 2).sum(axis=1))  # type: ignore[no-any-return]
    return 1 - products / np.linalg.norm(many, axis=1) / np.linalg.norm(one)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Truth:
    """The rows that a search must find, nearest first."""

    ids: list[int]
    distances: list[float]


def truth(
    rows: Sequence[Entry],
    query: Vectors,
    metric: Metric = "cosine",
    *,
    limit: int = 10,
    fits: Callable[[Entry], bool] = lambda row: True,
    within: float | None = None,
) -> Truth:
    """Brute force: the distance of every row that fits, sorted, ties by key."""
    fitting = [row for row in rows if row.vector is not None and fits(row)]
    if not fitting:
        return Truth([], [])
    found = distances(metric, np.stack([row.vector for row in fitting if row.vector is not None]), query)
    pairs = sorted((distance, row.id) for distance, row in zip(found.tolist(), fitting, strict=True))
    near = [pair for pair in pairs if within is None or pair[0] <= within][:limit]
    return Truth([number for _, number in near], [distance for distance, _ in near])


def found_ids(rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """The keys of rows that `Nearest` found."""
    return [row[2] for row in rows]


def without_vectors(rows: Sequence[Entry], *numbers: int) -> list[Entry]:
    """The rows, some of them without their vector."""
    return [dataclasses.replace(row, vector=None) if row.id in numbers else row for row in rows]
