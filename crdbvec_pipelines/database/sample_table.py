"""The table of the demo: dictionary glosses with a UUID key."""

import csv
import gzip
import uuid
from collections.abc import Iterator
from pathlib import Path

from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.naming import TableName

SAMPLE_TABLE = TableName("public", "gloss")

# Keys are UUIDs of the synsets in this namespace, so that a second load inserts nothing.
_NAMESPACE = uuid.UUID("6f1ab1c4-0c5c-4a5e-9d5e-2f3b8f0c7d11")


@statement
def create_sample_table() -> sql.Composable:
    """Create the table as an application has it, without a vector column."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (id UUID PRIMARY KEY, word TEXT NOT NULL, gloss TEXT NOT NULL)"
    ).format(sql.Identifier(*SAMPLE_TABLE))


@statement
def insert_sample_row() -> sql.Composable:
    """Insert one gloss; an existing row stays unchanged."""
    return sql.SQL(
        "INSERT INTO {} (id, word, gloss) VALUES (%(id)s, %(word)s::text, %(gloss)s::text) ON CONFLICT (id) DO NOTHING"
    ).format(sql.Identifier(*SAMPLE_TABLE))


def load_sample(database: Database, file: Path, rows: int) -> int:
    """Create the table, load the first `rows` glosses of a file, and return the number of inserted rows."""
    database.execute(create_sample_table())
    return database.execute_many(insert_sample_row(), list(_sample_rows(file, rows))).rows


def _sample_rows(file: Path, rows: int) -> Iterator[dict[str, object]]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for _, row in zip(range(rows), reader, strict=False):
            yield {"id": uuid.uuid5(_NAMESPACE, row["synset"]), "word": row["lemmas"], "gloss": row["gloss"]}
