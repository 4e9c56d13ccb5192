"""Rows with generated vectors, and the expected result of a search over them, computed by numpy."""

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

from crdbvec_pipelines.config import Metric, VectorColumn
from crdbvec_pipelines.database.column import BoundColumn, bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from tests.support.tables import column
from tests.support.work import FakeModel

Vectors = NDArray[np.float32]

METRICS: tuple[Metric, ...] = ("cosine", "l2", "ip")
_START = datetime(2024, 2, 28, 23, 59, tzinfo=UTC)
_NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


@dataclass(frozen=True)
class Entry:
    """One row: its key, its vector if it has one, and columns of several types for filters."""

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
    """Return normally distributed vectors."""
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def clustered_vectors(count: int, dim: int, clusters: int, spread: float, seed: int = 0) -> Vectors:
    """Return vectors in clusters, which vectors of texts form too."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(clusters, dim))
    means = centers[random.integers(0, clusters, count)]
    return cast(Vectors, (means + spread * random.normal(size=(count, dim))).astype(np.float32))


def entries(vectors: Sequence[Vectors | None]) -> list[Entry]:
    """Return a row for each vector; the values of the other columns repeat in different periods, and some are NULL."""
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
    """Create the table of these rows, with a filled vector column."""
    if not is_cockroachdb(connection):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(
        "CREATE TABLE passage (id INT8 PRIMARY KEY, tenant TEXT, year INT4, open BOOL, uid UUID, moment TIMESTAMPTZ, "
        f"passage TEXT, passage_vector VECTOR({dim}))"
    )
    insert(connection, rows)


def insert(connection: psycopg.Connection, rows: Sequence[Entry]) -> None:
    """Insert rows, and update the server's statistics."""
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
    """Return a vector as an SQL literal without quotes."""
    return None if vector is None else "[" + ",".join(f"{number:.9g}" for number in vector) + "]"


def preferring_indexes(url: str, **settings: object) -> str:
    """Return a URL with which PostgreSQL uses an index if possible; by default it scans small tables sequentially."""
    with psycopg.connect(url) as connection:
        if is_cockroachdb(connection):
            return url
    session = {"enable_seqscan": "off", **settings}
    if "://" not in url:
        return make_conninfo(url, options=" ".join(f"-c {name}={value}" for name, value in session.items()))
    options = "%20".join(f"-c%20{name}%3D{value}" for name, value in session.items())
    return f"{url}{'&' if '?' in url else '?'}options={options}"


def is_cockroachdb(connection: psycopg.Connection) -> bool:
    return connection.pgconn.parameter_status(b"crdb_version") is not None


def bound(database: Database, spec: VectorColumn, dim: int = 8) -> BoundColumn:
    """Return the vector column of these rows on a database; the metric is that of `spec`, otherwise cosine."""
    return bind_column(database, spec, FakeModel(dim=dim))


def nearest(database: Database, metric: Metric = "cosine", **index: object) -> NearestNeighbors:
    """Return searches over the vector column of these rows, with its current indexes."""
    return NearestNeighbors(bound(database, column(index={"metric": metric, **index})))


def vector_index(database: Database, metric: Metric = "cosine", dim: int = 8, **index: object) -> VectorIndex:
    """Return the vector index over these rows for a configuration."""
    return VectorIndex(bound(database, column(index={"metric": metric, **index}), dim))


def distances(metric: Metric, vectors: Vectors, query: Vectors) -> NDArray[np.float64]:
    """Return what the server's operator of a metric returns."""
    many, one = vectors.astype(np.float64), query.astype(np.float64)
    products: NDArray[np.float64] = many @ one
    if metric == "ip":
        return -products
    if metric == "l2":
        return np.sqrt(((many - one) ** 2).sum(axis=1))  # type: ignore[no-any-return]
    return 1 - products / np.linalg.norm(many, axis=1) / np.linalg.norm(one)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Truth:
    """The rows that a search must find, nearest first, with their distances."""

    ids: list[int]
    distances: list[float]


def truth(
    rows: Sequence[Entry],
    query: Vectors,
    metric: Metric = "cosine",
    *,
    limit: int = 10,
    matches: Callable[[Entry], bool] = lambda row: True,
    max_distance: float | None = None,
) -> Truth:
    """Return the nearest of the rows that match, by brute force; ties are sorted by key."""
    matching = [row for row in rows if row.vector is not None and matches(row)]
    if not matching:
        return Truth([], [])
    found = distances(metric, np.stack([row.vector for row in matching if row.vector is not None]), query)
    pairs = sorted((distance, row.id) for distance, row in zip(found.tolist(), matching, strict=True))
    near = [pair for pair in pairs if max_distance is None or pair[0] <= max_distance][:limit]
    return Truth([number for _, number in near], [distance for distance, _ in near])


def found_ids(rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """Return the keys of rows that `NearestNeighbors` found."""
    return [row[2] for row in rows]


def without_vectors(rows: Sequence[Entry], *numbers: int) -> list[Entry]:
    """Return the rows, those with the given numbers without their vector."""
    return [dataclasses.replace(row, vector=None) if row.id in numbers else row for row in rows]
