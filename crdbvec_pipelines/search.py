"""Similarity search over a vector column: texts in, the nearest rows out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.introspect import Table, check_column, read_table
from crdbvec_pipelines.database.similarity import nearest_exact
from crdbvec_pipelines.encoding.encoder import Encoder


@dataclass(frozen=True)
class Hit:
    """One row that was found.

    Attributes:
        distance: from the query, by the model's metric; smaller is nearer.
        key: the primary key, column by column.
        input: what the row's vector was made from.
    """

    distance: float
    key: dict[str, Any]
    input: Any


def open_for_search(database: Database, spec: VectorColumn, encoder: Encoder) -> Table:
    """The table, known to have a vector column that the model's vectors can be compared with.

    Raises:
        TableError: there is no such table or column, or its dimension is another.
    """
    table = read_table(database, spec.table)
    check_column(table, spec, encoder.dim)
    if spec.output not in table.columns:
        raise TableError(f"{spec.table} has no vector column {spec.output} yet; run crdbvec embed first.")
    return table


def search(
    database: Database, spec: VectorColumn, encoder: Encoder, texts: Sequence[str], *, limit: int = 10
) -> list[list[Hit]]:
    """The rows nearest to each text, nearest first, found exactly.

    Args:
        database: an open connection.
        spec: the vector column.
        encoder: the model that made its vectors.
        texts: what to search for.
        limit: rows for each text.

    Returns:
        A list of hits for each text.
    """
    table = open_for_search(database, spec, encoder)
    statement = nearest_exact(table, spec, encoder.metric)
    names = [column.name for column in table.key]
    return [
        [
            Hit(float(distance), dict(zip(names, key, strict=True)), value)
            for distance, value, *key in database.fetch(
                statement, {"vector": encoder.encode_query(text), "limit": limit}
            )
        ]
        for text in texts
    ]
