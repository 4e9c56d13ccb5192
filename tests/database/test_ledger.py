"""The ledger of all statements: every change of SQL is reviewed, and the server accepts each statement."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import CockroachDialect, Dialect, PostgresDialect
from crdbvec_pipelines.database.sample_table import create_sample_table
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.statement import registered_statements
from tests.database import ledger
from tests.support.waiting import wait_until

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
UPDATE_VARIABLE = "CRDBVEC_UPDATE_SNAPSHOTS"
DIALECTS = (PostgresDialect(), CockroachDialect())

# Features that CockroachDB does not have, ignores, or warns about.
ABSENT_ON_COCKROACHDB = {
    "LISTEN and NOTIFY": r"\b(UN)?LISTEN\b|\bNOTIFY\b",
    "advisory locks, which have no effect there": r"advisory",
    "TABLESAMPLE": r"\bTABLESAMPLE\b",
    "crdb_internal, closed since 26.1": r"crdb_internal(?!')",
    "temporary tables": r"\bTEMP(ORARY)?\b",
    "SELECT *, which would read hidden columns": r"(SELECT|,|\.)\s*\*",
    "CONCURRENTLY, which is ignored there": r"\bCONCURRENTLY\b",
    "system columns": r"\b(ctid|xmin|xmax|tableoid)\b",
    "extensions": r"\bEXTENSION\b",
    "the access methods of pgvector": r"\bivfflat\b",
    "PostgreSQL's statistics": r"pg_stat_(?!progress_none)",
}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_ledger_equals_the_reviewed_snapshot(dialect: Dialect) -> None:
    snapshot = SNAPSHOTS / f"sql_{dialect.name}.sql"
    rendered = ledger.render(dialect)
    if os.environ.get(UPDATE_VARIABLE):
        snapshot.write_text(rendered, encoding="utf-8")
    assert rendered == snapshot.read_text(encoding="utf-8"), (
        f"the statements have changed: run this test with {UPDATE_VARIABLE}=1 and review the difference before a commit"
    )


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_ledger_lists_every_registered_statement(dialect: Dialect) -> None:
    listed = set(re.findall(r"^-- (\w+): ", (SNAPSHOTS / f"sql_{dialect.name}.sql").read_text(), re.MULTILINE))
    assert listed == registered_statements()


@pytest.mark.parametrize("feature", ABSENT_ON_COCKROACHDB)
def test_cockroachdb_statements_use_no_absent_feature(feature: str) -> None:
    pattern = re.compile(ABSENT_ON_COCKROACHDB[feature], re.IGNORECASE)
    texts = [entry.statement.text for _, _, entries in ledger.build(CockroachDialect()) for entry in entries]
    assert [text for text in texts if pattern.search(text)] == []


def test_server_accepts_every_statement(database: Database, connection: psycopg.Connection) -> None:
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
        prepare_column(database, case.spec, ledger.MODEL)
    database.execute(create_sample_table())
    statements = list(ledger.build(database.dialect))
    if isinstance(database.dialect, CockroachDialect):
        _create_what_cockroachdb_looks_up(connection, statements)
    rejected = [
        f"{name} ({entry.title}): {error}"
        for name, _, entries in statements
        for entry in entries
        if entry.statement.text and (error := _prepare(connection, entry.statement.query))
    ]
    assert not rejected, "\n".join(rejected)


def _create_what_cockroachdb_looks_up(
    connection: psycopg.Connection, statements: Sequence[tuple[str, str, list[ledger.Entry]]]
) -> None:
    """Create what CockroachDB looks up when it prepares a statement, and PostgreSQL only when it runs it."""
    for case in ledger.CASES:
        # The other vector column of the trigger.
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN w VECTOR(384)").format(case.table.identifier))
    for name, _, entries in statements:
        for entry in entries:
            if name == "create_trigger_function":
                connection.execute(entry.statement.query)
    # At the time of a follower read, tables and columns that were just created do not exist yet.
    tables = sql.SQL(", ").join(case.table.identifier for case in ledger.CASES)
    wait_until(lambda: _can_read_the_past(connection, tables))


def _can_read_the_past(connection: psycopg.Connection, tables: sql.Composable) -> bool:
    try:
        connection.execute(
            sql.SQL("SELECT 1 FROM {} AS OF SYSTEM TIME follower_read_timestamp() LIMIT 1").format(tables)
        )
    except psycopg.Error:
        return False
    return True


def _prepare(connection: psycopg.Connection, query: bytes) -> str | None:
    """Let the server parse and check a statement without running it, and return its error message, if any."""
    numbers: dict[bytes, int] = {}

    def numbered(match: re.Match[bytes]) -> bytes:
        return b"%" if match[1] is None else b"$%d" % numbers.setdefault(match[1], len(numbers) + 1)

    result = connection.pgconn.prepare(b"", re.sub(rb"%%|%\((\w+)\)s", numbered, query))
    return None if not result.error_message else result.error_message.decode()
