"""No name that a table's owner has chosen has another meaning in a statement: every statement is parsed and checked.

Every alias, derived table and derived column has the reserved prefix, and every column is qualified by such an alias.
"""

import re
from collections.abc import Iterator

import pytest
import sqlglot
from sqlglot import exp

from crdbvec_pipelines.database.aliases import PREFIX
from crdbvec_pipelines.database.dialects import CockroachDialect, Dialect, PostgresDialect
from tests.database import ledger

# DDL and GRANT name the columns of one table, which they do not join with anything; session settings and EXPLAIN none.
WITHOUT_OTHER_NAMES = (exp.Create, exp.Alter, exp.Drop, exp.Grant, exp.Set, exp.Command)
# A body in PL/pgSQL, whose columns are qualified by NEW and OLD.
NOT_PARSED = {"create_trigger_function"}
# What the parser does not know, and what stands for it in the parsed text.
REPLACED = (
    (re.compile(r"%\(\w+\)s"), ":parameter"),
    (re.compile(r"<#>|<=>"), "<->"),
    (re.compile(r" AS OF SYSTEM TIME follower_read_timestamp\(\)"), ""),
    # A list of jobs may contain the selection of these jobs, with a list of its own.
    (re.compile(r"\[SHOW (?:[^][]|\[[^]]*\])*\]"), "crdbvec_shown_by_the_server"),
    (re.compile(r"CREATE VECTOR INDEX"), "CREATE INDEX"),
    (re.compile(r"DROP INDEX IF EXISTS .*@"), "DROP INDEX IF EXISTS "),
    # The parser gives VALUES without an alias one of its own.
    (re.compile(r"UNION ALL VALUES \(.*\)\) AS"), "UNION ALL SELECT 1) AS"),
)


def violations(text: str) -> list[str]:
    """Return the names of a statement that a user's name could be confused with."""
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    parsed = sqlglot.parse_one(text, dialect="postgres")
    if isinstance(parsed, WITHOUT_OTHER_NAMES):
        return []
    assert isinstance(parsed, (exp.Query, exp.DML)), f"{type(parsed)}: {text}"
    return [*_aliases(parsed), *_columns(parsed)]


def _aliases(parsed: exp.Expr) -> Iterator[str]:
    aliases = [alias.alias for alias in parsed.find_all(exp.Alias)]
    for derived in parsed.find_all(exp.TableAlias):
        aliases += [derived.name, *(column.name for column in derived.columns)]
    yield from (f"the alias {name}" for name in aliases if not name.startswith(PREFIX))
    for table in parsed.find_all(exp.Table):
        is_target_of_insert = isinstance(table.parent, exp.Schema) and isinstance(table.parent.parent, exp.Insert)
        is_derived = not table.db and table.name.startswith(PREFIX)
        if not table.alias and not is_target_of_insert and not is_derived:
            yield f"the table {table.name} without an alias"


def _columns(parsed: exp.Expr) -> Iterator[str]:
    assigned = {
        id(assignment.this)
        for change in parsed.find_all(exp.Update, exp.OnConflict)
        for assignment in change.expressions
        if isinstance(assignment, exp.EQ)
    }
    targets = {
        id(column)
        for conflict in parsed.find_all(exp.OnConflict)
        for key in conflict.args.get("conflict_keys") or ()
        for column in key.find_all(exp.Column)
    }
    for column in parsed.find_all(exp.Column):
        is_excluded = column.table == "excluded" and column.find_ancestor(exp.OnConflict) is not None
        if id(column) not in assigned | targets and not is_excluded and not column.table.startswith(PREFIX):
            yield f"the column {column.sql()}"


@pytest.mark.parametrize("dialect", [PostgresDialect(), CockroachDialect()], ids=lambda dialect: dialect.name)
def test_every_name_is_qualified_and_every_alias_reserved(dialect: Dialect) -> None:
    found = [
        f"{name} ({entry.title}): {violation}"
        for name, _, entries in ledger.build(dialect)
        if name not in NOT_PARSED
        for entry in entries
        if entry.statement.text
        for violation in violations(entry.statement.text)
    ]
    assert not found, "\n".join(found)


def orders_of_unions(text: str) -> list[str]:
    """Return the unions of a statement whose rows are returned in no given order."""
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    parsed = sqlglot.parse_one(text, dialect="postgres")
    return [parsed.sql()] if isinstance(parsed, exp.SetOperation) and not parsed.args.get("order") else []


@pytest.mark.parametrize("dialect", [PostgresDialect(), CockroachDialect()], ids=lambda dialect: dialect.name)
def test_no_statement_relies_on_the_order_of_a_union(dialect: Dialect) -> None:
    texts = [
        entry.statement.text
        for name, _, entries in ledger.build(dialect)
        if name not in NOT_PARSED
        for entry in entries
        if entry.statement.text
    ]
    assert [text for text in texts if orders_of_unions(text)] == []
    assert orders_of_unions("(SELECT 1) UNION ALL (SELECT 2)")


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ('SELECT "total" FROM t AS crdbvec_row', 'the column "total"'),
        ("SELECT crdbvec_row.a FROM t AS crdbvec_row WHERE place = 1", "the column place"),
        ("SELECT e.a FROM t AS e", "the alias e"),
        ("SELECT count(*) FROM t", "the table t without an alias"),
        ("SELECT crdbvec_row.a AS distance FROM t AS crdbvec_row", "the alias distance"),
        ("SELECT crdbvec_x.a FROM (VALUES (1)) AS crdbvec_x (bound)", "the alias bound"),
        ("WITH x AS (SELECT 1) SELECT crdbvec_y.a FROM x AS crdbvec_y", "the alias x"),
        ("UPDATE t AS crdbvec_row SET a = b", "the column b"),
        ("DELETE FROM t AS crdbvec_row WHERE EXISTS (SELECT 1 FROM u AS crdbvec_u WHERE key = 1)", "the column key"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = n", "the column n"),
        ("SELECT crdbvec_row.a FROM t AS crdbvec_row ORDER BY place", "the column place"),
        ("SELECT crdbvec_row.a FROM t AS crdbvec_row WHERE excluded.a = 1", "the column excluded.a"),
    ],
)
def test_a_statement_with_other_names_is_found(text: str, violation: str) -> None:
    assert violation in violations(text)


@pytest.mark.parametrize(
    "text",
    [
        'UPDATE "t" AS crdbvec_row SET "total" = NULL WHERE crdbvec_row."place" = %(key_0)s::bigint',
        "INSERT INTO t AS crdbvec_x (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a + crdbvec_x.a",
        "CREATE INDEX i ON t (a) WHERE b IS NULL",
    ],
)
def test_a_statement_with_qualified_names_is_accepted(text: str) -> None:
    assert violations(text) == []
