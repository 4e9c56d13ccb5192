"""Tables, keys, inputs and outputs that have the names of this project's own vocabulary, through every command."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from crdbvec_pipelines.config import PartitionsSpec
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.keys import TableKeys
from crdbvec_pipelines.database.table import read_table
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.partitioning import plan_partitions
from tests.cli.conftest import Invoke
from tests.support.projects import write_config

# Names that statements, frames and JSON objects of this project have or had, and words of SQL.
VOCABULARY = (
    *("total", "place", "position", "places", "bounds", "bound_0", "located", "embedded", "embedded_rows", "edited"),
    *("pending_rows", "missing", "updated", "nearest", "claims", "own", "e", "t", "c", "i", "n", "a", "p", "d", "o"),
    *("distance", "query", "key", "input", "output", "columns", "value", "fingerprint", "vector", "hits", "reason"),
    *("crdbvec_row", "crdbvec_error", "crdbvec_distance", "crdbvec_nearest", "crdbvec_place", "crdbvec_total"),
    *("crdbvec_key_0", "crdbvec_sample", "crdbvec_bound_0", "crdbvec_column", "crdbvec_claim", "excluded", "new"),
    *("old", "select", "table", "user", "order", "group", "count", "min", "row", "oid", "class", "schema", "limit"),
    *("the key", "Total", 'say "x"', "50%", "%(limit)s", "{e}", "dotted.name"),
)
ROWS = 60


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Return the names of a table, its key columns, its inputs, its output, and one more column; all are different."""
    names = st.sampled_from(VOCABULARY)
    columns = draw(st.lists(names, min_size=5, max_size=5, unique=True))
    key_columns = draw(st.integers(1, 2))
    return {
        "table": draw(names),
        "key": columns[:key_columns],
        "input": columns[2],
        "output": columns[3],
        "other": columns[4],
    }


def named(table: str, key: list[str], value: str, output: str, other: str) -> dict[str, Any]:
    return {"table": table, "key": key, "input": value, "output": output, "other": other}


@given(names=tables())
@example(names=named("e", ["total"], "place", "position", "distance"))
@example(names=named("crdbvec_row", ["place", "total"], "e", "t", "c"))
@example(names=named("nearest", ["distance"], "query", "input", "key"))
@example(names=named("t", ["crdbvec_distance"], "crdbvec_key_0", "crdbvec_total", "crdbvec_place"))
@example(names=named("crdbvec_nearest", ["key"], "input", "value", "query"))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_name_of_a_table_changes_what_a_command_does(
    project: Path, url: str, connection: psycopg.Connection, invoke: Invoke, names: dict[str, Any]
) -> None:
    schema = f"s{uuid4().hex[:8]}"
    table = TableName(schema, names["table"])
    create(connection, table, names)
    write_config(
        project,
        {
            "table": str(table),
            "input": names["input"],
            "output": names["output"],
            "model": "stub_hash",
            "updated_at": None,
            "index": {"metric": "l2"},
            "partitions": {"target_rows": 10},
        },
    )

    def run(*arguments: str) -> Any:
        result = invoke(*arguments, "-u", url, "--json")
        assert result.exit_code == 0, (names, arguments, result.output)
        return json.loads(result.stdout)

    (plan,) = run("plan")
    assert (plan["pending"], plan["blank"]) == (ROWS, 0)
    assert run("embed")["rows_embedded"] == ROWS
    assert run("embed")["rows_embedded"] == 0
    assert run("index", "build")["built"]
    assert run("index", "status")["exists"]
    assert run("index", "tune", "-q", "5", "-k", "3")["queries"] == 5
    (status,) = run("status")
    assert (status["rows"], status["embedded"], status["pending"]) == (ROWS, ROWS, 0)
    assert run("errors", "list") == []
    for arguments in (["text 7"], ["text 7", "--exact"], ["text 7", "--where", f"{names['other']}=other 7"]):
        hit = run("search", *arguments, "--columns", names["other"], "-l", "1")[0]
        assert (hit["input"], hit["columns"]) == ("text 7", {names["other"]: "other 7"})
        assert (list(hit["key"]), hit["key"][names["key"][0]]) == (names["key"], 7)
        assert hit["distance"] == pytest.approx(0)
    like = [option for name in names["key"] for option in ("--like", "7" if name == names["key"][0] else "key 7")]
    assert "text 7" not in [hit["input"] for hit in run("search", *like, "-l", "3")]
    with Database(url) as database:
        keys = TableKeys(database, read_table(database, table))
        assert len(plan_partitions(keys, PartitionsSpec(target_rows=10)).keys) > 1


def create(connection: psycopg.Connection, table: TableName, names: dict[str, Any]) -> None:
    types = ["INT8", "TEXT"]
    columns = [*zip(names["key"], types, strict=False), (names["input"], "TEXT"), (names["other"], "TEXT")]
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(table.schema)))
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
            sql.Identifier(*table),
            sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns),
            sql.SQL(", ").join(map(sql.Identifier, names["key"])),
        )
    )
    rows = [
        [*[number, f"key {number}"][: len(names["key"])], f"text {number}", f"other {number}"] for number in range(ROWS)
    ]
    # Not an INSERT with parameters, in which psycopg takes a % of a name for a placeholder.
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(*table))) as copy,
    ):
        for row in rows:
            copy.write_row(row)
