"""`crdbvec_vector_columns`, one table a schema: which vector columns this project keeps, from what, by which models.

It is what a table's trigger is made from, also when two configurations keep columns of one table, and what tells an
edited row from one whose vector another model made.
"""

import json
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.introspect import Table
from crdbvec_pipelines.database.statement import statement

CATALOGUE_TABLE = "crdbvec_vector_columns"
_MODELS_KEPT = 10


@dataclass(frozen=True)
class KeptColumn:
    """A vector column as the database remembers it. `models` are the ids of its models, the newest first."""

    output: str
    inputs: tuple[str, ...]
    fingerprint: str | None
    staleness: str
    models: tuple[str, ...]


@statement
def create_catalogue_table(schema: str) -> sql.Composable:
    """The table that remembers which vector columns are kept."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, inputs TEXT NOT NULL, "
        "fingerprint TEXT, staleness TEXT NOT NULL, models TEXT NOT NULL, changed_at TIMESTAMPTZ NOT NULL, "
        "PRIMARY KEY (table_name, output))"
    ).format(sql.Identifier(schema, CATALOGUE_TABLE))


@statement
def read_catalogue(schema: str) -> sql.Composable:
    """The vector columns of one table."""
    return sql.SQL(
        "SELECT output, inputs, fingerprint, staleness, models FROM {} "
        "WHERE table_name = %(table_name)s::text ORDER BY output"
    ).format(sql.Identifier(schema, CATALOGUE_TABLE))


@statement
def write_catalogue(schema: str) -> sql.Composable:
    """Remembers one vector column."""
    return sql.SQL(
        "INSERT INTO {} (table_name, output, inputs, fingerprint, staleness, models, changed_at) VALUES "
        "(%(table_name)s::text, %(output)s::text, %(inputs)s::text, %(fingerprint)s::text, %(staleness)s::text, "
        "%(models)s::text, now()) ON CONFLICT (table_name, output) DO UPDATE SET inputs = excluded.inputs, "
        "fingerprint = excluded.fingerprint, staleness = excluded.staleness, models = excluded.models, "
        "changed_at = excluded.changed_at"
    ).format(sql.Identifier(schema, CATALOGUE_TABLE))


def kept_columns(database: Database, table: Table) -> list[KeptColumn]:
    """The vector columns of a table that are remembered and still there, with all that they are made from."""
    rows = database.fetch(read_catalogue(table.name.schema), {"table_name": table.name.name})
    found = [
        KeptColumn(output, tuple(json.loads(inputs)), fingerprint, staleness, tuple(json.loads(models)))
        for output, inputs, fingerprint, staleness, models in rows
    ]
    return [
        column
        for column in found
        if {column.output, column.fingerprint or column.output, *column.inputs} <= table.columns.keys()
    ]


def remember(database: Database, table: Table, spec: VectorColumn, model_id: str) -> list[KeptColumn]:
    """Remembers a vector column as it now is, unless it is known so; returns all of the table's."""
    kept = kept_columns(database, table)
    known = next((column for column in kept if column.output == spec.output), None)
    earlier = known.models if known else ()
    now = KeptColumn(
        spec.output,
        spec.input_columns,
        spec.fingerprint_column,
        spec.staleness,
        (model_id, *(model for model in earlier if model != model_id))[:_MODELS_KEPT],
    )
    if now == known:
        return kept
    database.execute(
        write_catalogue(table.name.schema),
        {
            "table_name": table.name.name,
            "output": now.output,
            "inputs": json.dumps(now.inputs),
            "fingerprint": now.fingerprint,
            "staleness": now.staleness,
            "models": json.dumps(now.models),
        },
    )
    return kept_columns(database, table)
