"""The definition of "no content": in Python, and in the statements of databases of every encoding."""

import itertools
import unicodedata

import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.content import RANGES, content_ranges, has_content
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.keyspace import KeyRange
from tests.support.servers import Server
from tests.support.tables import column, vectors
from tests.support.work import embed, prepare

pytestmark = pytest.mark.usefixtures("calls")

EMPTY = [chr(point) for first, last in RANGES for point in range(first, last + 1)]
NEIGHBORS = [
    chr(point)
    for first, last in RANGES
    for point in (first - 1, last + 1)
    if chr(point) not in EMPTY and not 0xD800 <= point < 0xE000
]
CONTENT = [*NEIGHBORS, "a", "0", "!", "~", "\x7f", "é", "ж", "漢", "ツ", "🐘", "\U0010fffd", "\x01", "\x1f"]
MIXED = [
    *(f"\u3000{each}" for each in CONTENT),
    *(f"  {each}\n" for each in CONTENT),
    *(f"{each}\ufeff" for each in CONTENT),
    "\u00a0 \u200b\u3000\ufeff\u00ad\t\n",
    "".join(EMPTY),
    "".join(EMPTY) + "a",
]

SINGLE_BYTE = ["LATIN1", "LATIN2", "LATIN9", "WIN1252", "WIN1251", "ISO_8859_7", "KOI8R"]
MULTI_BYTE = ["EUC_JP", "EUC_KR", "EUC_CN", "EUC_JIS_2004"]


def encoded_as(encoding: str) -> str:
    return f"TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"


def texts_with_content(connection: psycopg.Connection, database: Database) -> set[str]:
    """Return the texts of the table `probe` that have content, as the statements of this database decide."""
    test = database.dialect.text_has_content(sql.SQL("body"))
    return {text for (text,) in connection.execute(sql.SQL("SELECT body FROM probe WHERE {}").format(test)).fetchall()}


def create_probe(connection: psycopg.Connection, texts: list[str]) -> None:
    connection.execute("CREATE TABLE probe (body TEXT)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO probe VALUES (%s::text)", [(text,) for text in texts])


def test_ranges_are_in_order_and_apart() -> None:
    ends = [end for range_ in RANGES for end in range_]
    assert ends == sorted(ends)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(RANGES))
    covered = [point for first, last in [*content_ranges(), *RANGES] for point in range(first, last + 1)]
    assert sorted(covered) == list(range(1, 0x110000))


def test_every_space_of_unicode_is_no_content() -> None:
    spaces = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) in ("Zs", "Zl", "Zp")]
    assert len(spaces) == 19
    assert not any(map(has_content, spaces))


def test_python_finds_content() -> None:
    assert not any(map(has_content, ["", *EMPTY, "".join(EMPTY)]))
    assert all(map(has_content, CONTENT))
    assert [text for text in MIXED if not has_content(text)] == MIXED[-3:-1]


def test_statements_agree_with_python(database: Database, connection: psycopg.Connection) -> None:
    texts = ["", *EMPTY, *CONTENT, *MIXED]
    create_probe(connection, texts)
    assert texts_with_content(connection, database) == {text for text in texts if has_content(text)}


@pytest.mark.parametrize("encoding", SINGLE_BYTE)
def test_statements_agree_with_python_for_each_byte(postgres: Server, encoding: str) -> None:
    with (
        postgres.new_database(encoded_as(encoding)) as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True, client_encoding="utf8") as connection,
    ):
        connection.execute("CREATE TABLE probe (body TEXT)")
        connection.execute("INSERT INTO probe SELECT chr(n) FROM generate_series(1, 255) AS n")
        connection.execute("INSERT INTO probe SELECT ' ' || chr(n) || 'a' FROM generate_series(1, 255) AS n")
        connection.execute("INSERT INTO probe VALUES ('')")
        # A byte that stands for no character can be stored, but not read.
        connection.execute(
            "CREATE FUNCTION is_readable(body TEXT) RETURNS BOOL LANGUAGE plpgsql AS "
            "'BEGIN PERFORM convert_to(body, ''UTF8''); RETURN true; EXCEPTION WHEN OTHERS THEN RETURN false; END'"
        )
        unreadable = connection.execute("DELETE FROM probe WHERE NOT is_readable(body) RETURNING 1").fetchall()
        texts = {text for (text,) in connection.execute("SELECT body FROM probe").fetchall()}
        assert len(texts) + len(unreadable) == 511
        assert texts_with_content(connection, database) == {text for text in texts if has_content(text)}


@pytest.mark.parametrize("encoding", MULTI_BYTE)
def test_statements_agree_with_python_in_encodings_of_several_bytes(postgres: Server, encoding: str) -> None:
    with (
        postgres.new_database(encoded_as(encoding)) as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True, client_encoding="utf8") as connection,
    ):
        connection.execute("CREATE TABLE probe (body TEXT)")
        for text in [
            "",
            " ",
            "\t\n",
            "a",
            " a",
            "~",
            *(each for each in [*EMPTY, *CONTENT] if "\x9f" < each < "\U00010000"),
        ]:
            try:
                connection.execute("INSERT INTO probe VALUES (%s::text)", [text])
            except psycopg.DataError:
                continue
        texts = {text for (text,) in connection.execute("SELECT body FROM probe").fetchall()}
        assert {" ", "a", " a", "\u3000"} <= texts
        assert texts_with_content(connection, database) == {text for text in texts if has_content(text)}


def test_statements_agree_with_python_in_a_database_without_an_encoding(postgres: Server) -> None:
    texts = ["", *EMPTY, *CONTENT, *MIXED]
    with (
        postgres.new_database(encoded_as("SQL_ASCII")) as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True, client_encoding="utf8") as connection,
    ):
        create_probe(connection, texts)
        assert texts_with_content(connection, database) == {text for text in texts if has_content(text)}


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII"])
def test_rows_without_content_are_never_embedded(postgres: Server, encoding: str) -> None:
    with (
        postgres.new_database(encoded_as(encoding)) as url,
        Database(url) as database,
        psycopg.connect(url, autocommit=True, client_encoding="utf8") as connection,
    ):
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
        blanks = ["", "\u00a0", " \u00ad\u0085 "] + ([] if encoding == "LATIN1" else ["\u3000", "\u200b", "\ufeff"])
        texts = [*blanks, "a", "\u00a0é"]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO passage VALUES (%s, %s::text)", list(enumerate(texts)))
        assert embed(database, column()).rows_embedded == 2
        connection.execute("UPDATE passage SET passage = '\u00a0' WHERE passage = 'a'")
        report = embed(database, column())
        assert (report.rows_embedded, report.rows_cleared) == (0, 1)
        assert sum(vector is not None for vector in vectors(connection).values()) == 1


def test_counts_of_blank_rows(database: Database, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT)")
    connection.execute("INSERT INTO passage VALUES (1, 'a'), (2, '\u3000'), (3, NULL)")
    embed(database, column())
    counts = prepare(database, column()).count(KeyRange())
    assert (counts.rows, counts.embedded, counts.pending, counts.blank) == (3, 1, 0, 2)
