"""The metadata table `crdbvec_vector_columns` (one per schema): the vector columns, their inputs and their models.

A table's trigger is generated from it, so that two configurations can have columns of the same table. It also
distinguishes an edited row from a row whose vector is from another model.
"""

import json
from dataclasses import dataclass

from psycopg import sql

from crdbvec_pipelines.database.aliases import reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import ColumnExchanged
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table

VECTOR_COLUMNS_TABLE = "crdbvec_vector_columns"
# Only the distinction between edited rows and rows of another model needs earlier models; a bound keeps the row short.
_MAX_MODELS = 10


@dataclass(frozen=True)
class ColumnMetadata:
    """A vector column as the metadata table records it.

    Attributes:
        output: The vector column.
        inputs: The input columns.
        fingerprint: The fingerprint column; None without one.
        staleness: How stale vectors are found, as in the configuration.
        models: The ids of its models, the latest first.
    """

    output: str
    inputs: tuple[str, ...]
    fingerprint: str | None
    staleness: str
    models: tuple[str, ...]


@statement
def create_vector_columns_table(schema: str) -> sql.Composable:
    """Create the metadata table of vector columns."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, inputs TEXT NOT NULL, "
        "fingerprint TEXT, staleness TEXT NOT NULL, models TEXT NOT NULL, changed_at TIMESTAMPTZ NOT NULL, "
        "PRIMARY KEY (table_name, output))"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


@statement
def add_table_oid(schema: str) -> sql.Composable:
    """Add the column that identifies a table also after it was renamed."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS table_oid INT8").format(
        sql.Identifier(schema, VECTOR_COLUMNS_TABLE)
    )


@statement
def add_suspended_at(schema: str) -> sql.Composable:
    """Add the column with the time since when a vector column is suspended; NULL if it is not."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS suspended_at TIMESTAMPTZ").format(
        sql.Identifier(schema, VECTOR_COLUMNS_TABLE)
    )


@statement
def add_metrics(schema: str) -> sql.Composable:
    """Add the column with the metric of each model, as JSON by the model's id."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS metrics TEXT").format(
        sql.Identifier(schema, VECTOR_COLUMNS_TABLE)
    )


@statement
def select_column_metadata(schema: str) -> sql.Composable:
    """List the vector columns of one table."""
    return sql.SQL(
        "SELECT {} FROM {} AS crdbvec_column WHERE crdbvec_column.table_name = %(table_name)s::text "
        "ORDER BY crdbvec_column.output"
    ).format(
        sql.SQL(", ").join(
            reference(name, "crdbvec_column") for name in ("output", "inputs", "fingerprint", "staleness", "models")
        ),
        sql.Identifier(schema, VECTOR_COLUMNS_TABLE),
    )


@statement
def select_table_oid(schema: str) -> sql.Composable:
    """Return what identifies the table for which a vector column was recorded; NULL if release 0.1.0 recorded it."""
    return sql.SQL(
        "SELECT crdbvec_column.table_oid FROM {} AS crdbvec_column "
        "WHERE crdbvec_column.table_name = %(table_name)s::text AND crdbvec_column.output = %(output)s::text"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


@statement
def select_metrics(schema: str) -> sql.Composable:
    """Return the metrics of the models of a table's vector columns, as JSON by the model's id."""
    return sql.SQL(
        "SELECT crdbvec_column.metrics FROM {} AS crdbvec_column "
        "WHERE crdbvec_column.table_name = %(table_name)s::text AND crdbvec_column.metrics IS NOT NULL"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


@statement
def select_models(schema: str) -> sql.Composable:
    """Return the ids of the models of a vector column, as JSON, the present one first."""
    return sql.SQL(
        "SELECT crdbvec_column.models FROM {} AS crdbvec_column "
        "WHERE crdbvec_column.table_name = %(table_name)s::text AND crdbvec_column.output = %(output)s::text"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


def recorded_models(column: ColumnDefinition) -> sql.Composable:
    """Return the ids of the models of a vector column as an expression, so that a statement reads them with its rows.

    `crdbvec migrate switch` exchanges columns and models in one transaction.
    """
    return sql.SQL(
        "(SELECT crdbvec_column.models FROM {} AS crdbvec_column "
        "WHERE crdbvec_column.table_name {equals} {table}::text AND crdbvec_column.output {equals} {output}::text)"
    ).format(
        sql.Identifier(column.table.name.schema, VECTOR_COLUMNS_TABLE),
        equals=column.table.dialect.operator("="),
        table=sql.Literal(column.table.name.name),
        output=sql.Literal(column.spec.output),
    )


def has_own_model(column: ColumnDefinition) -> sql.Composable:
    """Return the predicate that the vectors of a column are those of the parameter `model`, or none is recorded.

    The parameter is what `models_of` returns, with which the recorded models begin.
    """
    operator = column.table.dialect.operator
    return sql.SQL(
        "coalesce(pg_catalog.left({models}, pg_catalog.length(%(model)s::text)::int) {equals} %(model)s::text, true)"
    ).format(models=recorded_models(column), equals=operator("="))


def check_model(column: BoundColumn) -> None:
    """Check that the vectors of a column are those of its model, or none is recorded.

    Raises:
        ColumnExchanged: They are those of another model.
    """
    table = column.table
    found = column.database.fetch(
        select_models(table.name.schema), {"table_name": table.name.name, "output": column.spec.output}
    )
    if found and not str(found[0][0]).startswith(models_of(column)):
        raise ColumnExchanged(str(table.name), column.spec.output)


def models_of(column: ColumnDefinition) -> str:
    """Return the beginning of the recorded models of a column whose vectors are those of its model."""
    return models_beginning_with(column.model.model_id)


def models_beginning_with(model_id: str) -> str:
    """Return the beginning of the recorded models of a column whose vectors are those of a model."""
    return json.dumps([model_id])[:-1]


@statement
def upsert_column_metadata(schema: str) -> sql.Composable:
    """Insert or update one vector column."""
    return sql.SQL(
        "INSERT INTO {} (table_name, output, inputs, fingerprint, staleness, models, changed_at, table_oid, metrics) "
        "VALUES (%(table_name)s::text, %(output)s::text, %(inputs)s::text, %(fingerprint)s::text, "
        "%(staleness)s::text, %(models)s::text, now(), %(table_oid)s::int8, %(metrics)s::text) "
        "ON CONFLICT (table_name, output) DO UPDATE SET "
        "inputs = excluded.inputs, fingerprint = excluded.fingerprint, staleness = excluded.staleness, "
        "models = excluded.models, changed_at = excluded.changed_at, table_oid = excluded.table_oid, "
        "metrics = excluded.metrics"
    ).format(sql.Identifier(schema, VECTOR_COLUMNS_TABLE))


def read_metrics(database: Database, table: Table) -> dict[str, str]:
    """Return the metrics of the models of a table's vector columns, by the model's id, as far as they are recorded."""
    metrics: dict[str, str] = {}
    for (text,) in database.fetch(select_metrics(table.name.schema), {"table_name": table.name.name}):
        metrics |= json.loads(text)
    return metrics


def read_column_metadata(database: Database, table: Table) -> list[ColumnMetadata]:
    """Return the recorded vector columns of a table whose columns and input columns still exist."""
    rows = database.fetch(select_column_metadata(table.name.schema), {"table_name": table.name.name})
    found = [
        ColumnMetadata(output, tuple(json.loads(inputs)), fingerprint, staleness, tuple(json.loads(models)))
        for output, inputs, fingerprint, staleness, models in rows
    ]
    return [
        column
        for column in found
        if {column.output, column.fingerprint or column.output, *column.inputs} <= table.columns.keys()
    ]


def save_column_metadata(column: BoundColumn) -> list[ColumnMetadata]:
    """Save the current definition of a vector column, if it has changed, and return those of the whole table."""
    table, spec, current = column.table, column.spec, column.model.model_id
    saved = read_column_metadata(column.database, table)
    previous = next((each for each in saved if each.output == spec.output), None)
    earlier = previous.models if previous else ()
    definition = ColumnMetadata(
        spec.output,
        spec.watched_columns,
        spec.fingerprint_column,
        spec.staleness,
        (current, *(model for model in earlier if model != current))[:_MAX_MODELS],
    )
    recorded = column.database.fetch(
        select_table_oid(table.name.schema), {"table_name": table.name.name, "output": spec.output}
    )
    known = read_metrics(column.database, table)
    metrics = {**known, current: column.model.metric}
    if definition == previous and recorded == [(table.oid,)] and metrics == known:
        return saved
    column.database.execute(
        upsert_column_metadata(table.name.schema),
        {
            "table_name": table.name.name,
            "output": definition.output,
            "inputs": json.dumps(definition.inputs),
            "fingerprint": definition.fingerprint,
            "staleness": definition.staleness,
            "models": json.dumps(definition.models),
            "table_oid": table.oid,
            "metrics": json.dumps({model: metrics[model] for model in definition.models if model in metrics}),
        },
    )
    return read_column_metadata(column.database, table)
