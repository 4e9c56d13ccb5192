"""The ledger of all statements: nothing reaches a server unread, and the server understands each."""

import os
import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect, Dialect, PostgresDialect
from crdbvec_pipelines.database.sample import create_sample_table
from crdbvec_pipelines.database.schema import ensure_schema
from crdbvec_pipelines.database.statement import catalogue
from tests.database import ledger

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
UPDATE_VARIABLE = "CRDBVEC_UPDATE_SNAPSHOTS"
DIALECTS = (PostgresDialect(), CockroachDialect())

# What CockroachDB lacks, accepts and ignores, or warns of.
ABSENT_ON_COCKROACHDB = {
    "LISTEN and NOTIFY": r"\b(UN)?LISTEN\b|\bNOTIFY\b",
    "advisory locks, which do nothing there": r"advisory",
    "TABLESAMPLE": r"\bTABLESAMPLE\b",
    "crdb_internal, closed since 26.1": r"crdb_internal(?!')",
    "temporary tables": r"\bTEMP(ORARY)?\b",
    "SELECT *, which would read hidden columns": r"(SELECT|,|\.)\s*\*",
    "CONCURRENTLY, which is noise there": r"\bCONCURRENTLY\b",
    "system columns": r"\b(ctid|xmin|xmax|tableoid)\b",
    "extensions": r"\bEXTENSION\b",
    "the access methods of pgvector": r"\bivfflat\b",
    "PostgreSQL's statistics": r"pg_stat_(?!progress_none)",
}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_the_ledger_is_what_has_been_read(dialect: Dialect) -> None:
    snapshot = SNAPSHOTS / f"sql_{dialect.name}.sql"
    rendered = ledger.render(dialect)
    if os.environ.get(UPDATE_VARIABLE):
        snapshot.write_text(rendered, encoding="utf-8")
    assert rendered == snapshot.read_text(encoding="utf-8"), (
        f"the statements have changed: run this test with {UPDATE_VARIABLE}=1 and read the difference before committing"
    )


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_statement_is_in_the_ledger(dialect: Dialect) -> None:
    listed = set(re.findall(r"^-- (\w+): ", (SNAPSHOTS / f"sql_{dialect.name}.sql").read_text(), re.MULTILINE))
    assert listed == catalogue()


@pytest.mark.parametrize("what", ABSENT_ON_COCKROACHDB)
def test_cockroachdb_is_not_sent_what_it_does_not_have(what: str) -> None:
    pattern = re.compile(ABSENT_ON_COCKROACHDB[what], re.IGNORECASE)
    texts = [entry.statement.text for _, _, entries in ledger.build(CockroachDialect()) for entry in entries]
    assert [text for text in texts if pattern.search(text)] == []


def test_each_statement_is_understood_by_the_server(database: Database, connection: psycopg.Connection) -> None:
    for case in ledger.CASES:
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type_name))
            for column in case.table.columns.values()
            if column.name not in (case.spec.output, case.spec.fingerprint_column)
        ]
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(case.table.name.schema)))
        connection.execute(
            sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
                case.table.identifier,
                sql.SQL(", ").join(columns),
                sql.SQL(", ").join(sql.Identifier(column.name) for column in case.table.key),
            )
        )
        ensure_schema(database, case.spec, ledger.DIMENSION, "m")
    database.execute(create_sample_table())
    refused = [
        f"{name} ({entry.title}): {error}"
        for name, _, entries in ledger.build(database.dialect)
        for entry in entries
        if entry.statement.text and (error := _prepare(connection, entry.statement.query))
    ]
    assert not refused, "\n".join(refused)


def _prepare(connection: psycopg.Connection, query: bytes) -> str | None:
    """Has the server parse and check a statement without running it; returns its complaint."""
    names: dict[bytes, int] = {}

    def place(match: re.Match[bytes]) -> bytes:
        return b"%" if match[1] is None else b"$%d" % names.setdefault(match[1], len(names) + 1)

    result = connection.pgconn.prepare(b"", re.sub(rb"%%|%\((\w+)\)s", place, query))
    return None if not result.error_message else result.error_message.decode()
