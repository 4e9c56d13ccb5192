"""Reads vector columns with SQL that is independent of the product's, and normalizes the output of `crdbvec`.

Used by the script that generated the fixtures of release 0.1.0 and by the tests that compare with them.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.keyspace import parse_partition_key
from crdbvec_pipelines.naming import TableName

FOLDER = Path(__file__).parents[1] / "fixtures" / "release_0_1_0"

CALLS_VARIABLE = "CRDBVEC_TEST_CALLS"
"""The environment variable with the path of the file in which the stub models record the inputs they encode."""

# Measured values in the output of `crdbvec plan`.
_MEASURED = ("rows_per_second", "seconds")
# Timestamps in the output of `crdbvec errors list`, under their names in 0.1.0 and since.
_TIMES = ("next_try", "next_retry_at", "first_seen", "last_seen")


@dataclass(frozen=True)
class Row:
    """One row of a vector column.

    Attributes:
        vector: The vector as text; None if it is NULL.
        fingerprint: The stored fingerprint; None if it is NULL or if the vector column has no fingerprints.
        version: `xmin` and `ctid` of the row; every UPDATE of the row changes them.
    """

    vector: str | None
    fingerprint: str | None
    version: str


def connect(url: str) -> psycopg.Connection:
    """Connect with the session settings on which the text of keys depends."""
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET timezone = 'UTC'")
    connection.execute("SET datestyle = 'ISO, YMD'")
    return connection


def restore(url: str, name: str) -> None:
    """Execute a dump in an empty database."""
    script = (FOLDER / name).read_bytes()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(gzip.decompress(script) if name.endswith(".gz") else script)


def read_rows(connection: psycopg.Connection, column: VectorColumn) -> dict[str, Row]:
    """Return each row of a vector column by its key (a JSON array), in key order."""
    names = [name for name, _ in key_columns(connection, column.table)]
    statement = sql.SQL(
        "SELECT {key}, {vector}::text, {fingerprint}, xmin::text || ctid::text FROM {table} ORDER BY {order}"
    )
    found = connection.execute(
        statement.format(
            key=_key_text(names),
            vector=sql.Identifier(column.output),
            fingerprint=sql.Identifier(column.fingerprint_column) if column.fingerprint_column else sql.SQL("NULL"),
            table=sql.Identifier(*column.table),
            order=_listed(names),
        )
    )
    return {key: Row(*facts) for key, *facts in found}


def rows_of_partition(connection: psycopg.Connection, table: TableName, partition: str) -> list[str]:
    """Return the keys (JSON arrays) of the rows in a partition, in key order."""
    key_range = parse_partition_key(partition, table)
    key = key_columns(connection, table)
    names = [name for name, _ in key]
    tests: list[sql.Composable] = [sql.SQL("true")]
    values: list[object] = []
    for operator, bound in ((">=", key_range.lower), ("<", key_range.upper)):
        if bound is not None:
            tests.append(_compared(key, operator))
            values += bound
    found = connection.execute(
        sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}").format(
            _key_text(names), sql.Identifier(*table), sql.SQL(" AND ").join(tests), _listed(names)
        ),
        values,
    )
    return [text for (text,) in found]


def key_columns(connection: psycopg.Connection, table: TableName) -> list[tuple[str, str]]:
    """Return name and type of each primary key column, in key order."""
    return connection.execute(
        "SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_index AS i "
        "JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) "
        "WHERE i.indisprimary AND n.nspname = %s AND c.relname = %s "
        "ORDER BY array_position(i.indkey::int2[], a.attnum)",
        tuple(table),
    ).fetchall()


def models_of(connection: psycopg.Connection, column: VectorColumn) -> list[str]:
    """Return the model ids that crdbvec_vector_columns records for a vector column, the newest first."""
    found = connection.execute(
        sql.SQL("SELECT models FROM {} WHERE table_name = %s AND output = %s").format(
            sql.Identifier(column.table.schema, "crdbvec_vector_columns")
        ),
        (column.table.name, column.output),
    ).fetchone()
    assert found is not None, f"{column} is not in crdbvec_vector_columns"
    models: list[str] = json.loads(found[0])
    return models


def comparable_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """Remove measured values from an element of the output of `crdbvec plan --json`."""
    return {name: value for name, value in plan.items() if name not in _MEASURED}


def comparable_errors(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Remove timestamps from the output of `crdbvec errors list --json`, and sort it by key."""
    kept = [{name: value for name, value in error.items() if name not in _TIMES} for error in errors]
    return sorted(kept, key=lambda error: json.dumps(error["key"]))


def encoded_inputs(calls: Path) -> list[str]:
    """Return the inputs that the recording stub models encoded, sorted."""
    lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
    return sorted(text for line in lines for text in json.loads(line))


def _key_text(names: list[str]) -> sql.Composable:
    return sql.SQL("jsonb_build_array({})::text").format(_listed(names))


def _listed(names: list[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _compared(key: list[tuple[str, str]], operator: str) -> sql.Composable:
    values = sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(kind)) for _, kind in key)
    return sql.SQL("({}) {} ({})").format(_listed([name for name, _ in key]), sql.SQL(operator), values)
