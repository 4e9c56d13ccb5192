"""docs/tables.md: which tables can be embedded and which are rejected, generated from tables that this test tries.

Each table is embedded and compared with a recomputation, or rejected before anything is changed; the page has the
sentence of the error. CRDBVEC_UPDATE_SNAPSHOTS=1 writes the page instead of comparing it.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from tests.support.models import stub_vector
from tests.support.processes import ROOT
from tests.support.servers import Server
from tests.support.tables import column, schema_objects
from tests.support.work import embed, prepare

PAGE = ROOT / "docs" / "tables.md"
UPDATE_VARIABLE = "CRDBVEC_UPDATE_SNAPSHOTS"

_HEAD = """\
# Tables

Which tables can be embedded. Every row of this page is a table that the tests create on PostgreSQL 18: it is embedded
and every vector is compared with a recomputation, or it is rejected with the sentence given here, before anything is
changed. [freshness.md](freshness.md#tables) has the details of the kinds that have some.

On CockroachDB, which has no partitioned, inherited, typed, foreign and temporary tables of these kinds, no domains and
no virtual columns that an index cannot contain, the same checks apply; they were not run there.

A model of texts rejects an input column that is not text; a template makes a text of any type.

A table needs a key: a primary key, otherwise a unique index of columns that are NOT NULL, without a condition, an
expression or DEFERRABLE. Of several indexes, the one with the fewest columns is used. A role that may read the table
sees in the error which of its columns could be the key. [pandas.md](pandas.md) is about tables that pandas has made.
"""


@dataclass(frozen=True)
class Kind:
    """A kind of table.

    Attributes:
        title: What is special about it.
        create: The statements that create a table `passage` whose input column is `passage`.
        insert: The columns and values of one row, whose input is the text `text`.
        entry: Values of the configuration entry.
        embedded: What is given to the model for that row.
    """

    title: str
    create: Sequence[str]
    insert: str = "(id, passage) VALUES (1, 'text')"
    entry: dict[str, object] = field(default_factory=dict)
    embedded: object = "text"


def key(title: str, definition: str, value: str) -> Kind:
    """Return a table with a key column of a type."""
    return Kind(
        title,
        [f"CREATE TABLE passage (id {definition} PRIMARY KEY, passage TEXT)"],
        f"(id, passage) VALUES ({value}, 'text')",
    )


def text(title: str, definition: str, value: str = "'text'", embedded: object = "text", *before: str) -> Kind:
    """Return a table with an input column of a type."""
    return Kind(
        title,
        [*before, f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage {definition})"],
        f"(id, passage) VALUES (1, {value})",
        embedded=embedded,
    )


def templated(title: str, definition: str, value: str, embedded: str) -> Kind:
    """Return a table whose input is a template with a column of a type that is not text."""
    return Kind(
        f"{title}, in a template",
        [f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage {definition})"],
        f"(id, passage) VALUES (1, {value})",
        {"input": None, "template": "{passage}"},
        embedded,
    )


def kind(title: str, *create: str, entry: dict[str, object] | None = None) -> Kind:
    """Return a table that special statements create."""
    return Kind(title, create, entry=entry or {})


def output(title: str, definition: str) -> Kind:
    """Return a table that has the output column already."""
    table = f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, passage_vector {definition})"
    return kind(title, "CREATE EXTENSION vector", table)


PLAIN = "CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)"

SECTIONS: dict[str, Sequence[Kind]] = {
    "Keys": [
        key("integer", "INT8", "1"),
        key("UUID", "UUID", "gen_random_uuid()"),
        key("text", "TEXT", "'a'"),
        key("text of 2,000 characters", "TEXT", "repeat('漢', 2000)"),
        key("text with a collation", 'TEXT COLLATE "C"', "'a'"),
        key("bytes", "BYTEA", r"'\xff00'"),
        key("date", "DATE", "'2026-01-02'"),
        key("time with time zone", "TIMESTAMPTZ", "'2026-01-02 03:04:05.678901+09'"),
        key("infinite time", "TIMESTAMP", "'infinity'"),
        key("number with decimal places", "NUMERIC(20, 10)", "1.5"),
        key("floating-point number", "FLOAT8", "0.1"),
        key("boolean", "BOOL", "true"),
        Kind(
            "enum",
            ["CREATE TYPE mood AS ENUM ('good', 'bad')", "CREATE TABLE passage (id mood PRIMARY KEY, passage TEXT)"],
            "(id, passage) VALUES ('bad', 'text')",
        ),
        Kind(
            "domain",
            ["CREATE DOMAIN sku AS TEXT", "CREATE TABLE passage (id sku PRIMARY KEY, passage TEXT)"],
            "(id, passage) VALUES ('a', 'text')",
        ),
        Kind(
            "several columns",
            ["CREATE TABLE passage (tenant TEXT, id UUID, part INT4, passage TEXT, PRIMARY KEY (tenant, id, part))"],
            "VALUES ('a', gen_random_uuid(), 1, 'text')",
        ),
        Kind(
            "columns with names of this project and of SQL",
            [
                'CREATE TABLE passage ("distance" INT8, "crdbvec_row" INT8, "select" INT8, passage TEXT, '
                'PRIMARY KEY ("distance", "crdbvec_row", "select"))'
            ],
            "VALUES (1, 2, 3, 'text')",
        ),
        Kind(
            "no primary key, but a unique index of columns that are NOT NULL",
            [
                "CREATE TABLE passage (id INT8, code TEXT NOT NULL, part INT4 NOT NULL, passage TEXT, UNIQUE (id), "
                "UNIQUE (code, part))"
            ],
            "VALUES (NULL, 'a', 1, 'text')",
        ),
        kind("no key, but a column with a different value in each row", "CREATE TABLE passage (id INT8, passage TEXT)"),
        kind("no key and no such column", "CREATE TABLE passage (passage TEXT)"),
        key("array", "INT8[]", "'{1}'"),
        key("JSONB", "JSONB", "'{}'"),
        key("interval", "INTERVAL", "'1 hour'"),
        key("bit string", "BIT(3)", "B'101'"),
    ],
    "Inputs": [
        text("text", "TEXT"),
        text("limited text", "VARCHAR(20)"),
        text("padded text", "CHAR(10)", "'text'", "text      "),
        text("domain over text", "label", "'text'", "text", "CREATE DOMAIN label AS TEXT"),
        text("bytes", "BYTEA", r"'\x61'", b"a"),
        templated("integer", "INT4", "7", "7"),
        templated("floating-point number", "FLOAT8", "0.1", "0.1"),
        templated("boolean", "BOOL", "true", "true"),
        templated("time with time zone", "TIMESTAMPTZ", "'2026-01-02 03:04:05+09'", "2026-01-01 18:04:05+00"),
        templated("JSONB", "JSONB", "'{\"a\": 1}'", '{"a": 1}'),
        templated("array of text", "TEXT[]", "'{a,b}'", "{a,b}"),
        text("enum", "mood", "'good'", "good", "CREATE TYPE mood AS ENUM ('good', 'bad')"),
        text("text of white space and invisible characters only", "TEXT", r"U&' \00a0\3000\200b\feff'", None),
        Kind(
            "several columns",
            ["CREATE TABLE passage (id INT8 PRIMARY KEY, title TEXT, passage TEXT)"],
            "VALUES (1, 'a title', 'text')",
            {"input": ["title", "passage"]},
            "a title\ntext",
        ),
        Kind(
            "template",
            ["CREATE TABLE passage (id INT8 PRIMARY KEY, title TEXT, passage TEXT)"],
            "VALUES (1, 'a title', 'text')",
            {"input": None, "template": "{title}: {passage}"},
            "a title: text",
        ),
        Kind(
            "generated column, stored",
            ["CREATE TABLE passage (id INT8 PRIMARY KEY, a TEXT, passage TEXT GENERATED ALWAYS AS (lower(a)) STORED)"],
            "(id, a) VALUES (1, 'TEXT')",
        ),
        Kind(
            "generated column, virtual",
            ["CREATE TABLE passage (id INT8 PRIMARY KEY, a TEXT, passage TEXT GENERATED ALWAYS AS (lower(a)) VIRTUAL)"],
            "(id, a) VALUES (1, 'TEXT')",
        ),
        Kind(
            "generated column with `staleness: trigger`",
            ["CREATE TABLE passage (id INT8 PRIMARY KEY, a TEXT, passage TEXT GENERATED ALWAYS AS (lower(a)) STORED)"],
            entry={"staleness": "trigger"},
        ),
        text("name of an object", "REGCLASS", "'pg_class'"),
        kind("missing column", "CREATE TABLE passage (id INT8 PRIMARY KEY, passages TEXT)"),
    ],
    "Kinds of relations": [
        kind("unlogged table", PLAIN.replace("CREATE", "CREATE UNLOGGED")),
        kind(
            "partitioned table",
            f"{PLAIN} PARTITION BY RANGE (id)",
            "CREATE TABLE part PARTITION OF passage DEFAULT",
        ),
        kind(
            "partitioned table with `index:`",
            f"{PLAIN} PARTITION BY RANGE (id)",
            entry={"index": {}},
        ),
        kind(
            "partition",
            f"{PLAIN.replace('passage (', 'whole (')} PARTITION BY RANGE (id)",
            "CREATE TABLE passage PARTITION OF whole DEFAULT",
        ),
        kind(
            "table that inherits",
            PLAIN.replace("passage (", "parent ("),
            "CREATE TABLE passage (PRIMARY KEY (id)) INHERITS (parent)",
        ),
        kind("table from which others inherit", PLAIN, "CREATE TABLE child () INHERITS (passage)"),
        kind(
            "typed table",
            "CREATE TYPE row_type AS (id INT8, passage TEXT)",
            "CREATE TABLE passage OF row_type (PRIMARY KEY (id))",
        ),
        kind("view", "CREATE VIEW passage AS SELECT 1::INT8 AS id, 'a' AS passage"),
        kind("materialized view", "CREATE MATERIALIZED VIEW passage AS SELECT 1::INT8 AS id, 'a' AS passage"),
        kind(
            "foreign table",
            "CREATE FOREIGN DATA WRAPPER wrapper",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER wrapper",
            "CREATE FOREIGN TABLE passage (id INT8, passage TEXT) SERVER elsewhere",
        ),
        kind(
            "table of 1,599 columns",
            f"CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, {', '.join(f'c{n} BOOL' for n in range(1597))})",
        ),
    ],
    "Output columns": [
        output("vector", "VECTOR(8)"),
        output("vector of half precision", "HALFVEC(8)"),
        output("vector of another dimension", "VECTOR(3)"),
        output("vector that must not be NULL", "VECTOR(8) NOT NULL"),
        output("array of numbers", "FLOAT4[]"),
        kind(
            "vectors of unknown origin",
            "CREATE EXTENSION vector",
            PLAIN.replace(" TEXT", " TEXT, passage_vector VECTOR(8)"),
            "INSERT INTO passage VALUES (9, 'text', '[1,2,3,4,5,6,7,8]')",
        ),
    ],
    "`updated_at`": [
        kind("timestamptz", PLAIN.replace(" TEXT", " TEXT, changed TIMESTAMPTZ"), entry={"updated_at": "changed"}),
        kind(
            "timestamp with `updated_at_timezone`",
            PLAIN.replace(" TEXT", " TEXT, changed TIMESTAMP"),
            entry={"updated_at": "changed", "updated_at_timezone": "Europe/Berlin"},
        ),
        kind("timestamp", PLAIN.replace(" TEXT", " TEXT, changed TIMESTAMP"), entry={"updated_at": "changed"}),
        kind("date", PLAIN.replace(" TEXT", " TEXT, changed DATE"), entry={"updated_at": "changed"}),
        kind("integer", PLAIN.replace(" TEXT", " TEXT, changed INT8"), entry={"updated_at": "changed"}),
    ],
}


def outcome(server: Server, case: Kind) -> str:
    """Embed a row of a table and compare its vector, or return the sentence with which the table is rejected."""
    with server.new_database() as url, psycopg.connect(url, autocommit=True) as connection:
        for statement in case.create:
            connection.execute(statement.encode())
        before = schema_objects(connection)
        spec = column(**case.entry)
        with Database(url) as database:
            try:
                prepare(database, spec)
            except TableError as error:
                assert schema_objects(connection) == before
                return "rejected: " + re.sub(r"^the command line[\w.]*: ", "", str(error))
            connection.execute(f"INSERT INTO passage {case.insert}".encode())
            report = embed(database, spec)
            again = embed(database, spec)
            ((vector,),) = connection.execute("SELECT passage_vector::TEXT FROM passage").fetchall()
    assert (again.rows_embedded, again.rows_cleared) == (0, 0)
    if vector is None:
        assert report.rows_embedded == 0
        return "not embedded: recorded as failed" if report.rows_failed else "not embedded: it has no content"
    assert report.rows_embedded == 1
    assert [float(np.float32(part)) for part in vector[1:-1].split(",")] == expected(case), case.title
    return "embedded"


def expected(case: Kind) -> Sequence[float]:
    """Return the recomputed vector, as exact as the column is."""
    computed = stub_vector(case.embedded)
    return [float(value) for value in (computed.astype("float16") if "half" in case.title else computed)]


@pytest.mark.usefixtures("calls")
def test_page_is_what_the_tables_do(postgres: Server) -> None:
    page = _HEAD
    for section, kinds in SECTIONS.items():
        page += f"\n## {section}\n\n| table or column | result |\n|---|---|\n"
        for case in kinds:
            page += f"| {case.title} | {outcome(postgres, case)} |\n"
    if os.environ.get(UPDATE_VARIABLE):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
