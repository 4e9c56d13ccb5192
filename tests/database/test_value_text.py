"""The text of a value: the same in every session, and the one that fingerprints of earlier releases were made from."""

from collections.abc import Iterator, Sequence

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.rows.pending_reasons import pending_reasons, sample_inputs
from crdbvec_pipelines.database.rows.range_state import range_state
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.models import CallLog, stub
from tests.support.servers import Server
from tests.support.tables import column, create_table, vectors
from tests.support.work import embed, prepare, prepared

pytestmark = pytest.mark.usefixtures("calls")

# A column of each type, two of its values, and the text of the first one: that of release 0.1.0 with the settings of a
# new PostgreSQL. The text is None if it is not the same on all servers.
TYPES: dict[str, tuple[str, str, str | None]] = {
    "bool": ("true", "false", "true"),
    "int2": ("1", "2", "1"),
    "int8": ("9007199254740993", "2", "9007199254740993"),
    "float4": ("1.1::float4 * 3", "0.1", "3.3000002"),
    "float8": ("0.1::float8 + 0.2", "1e-10", "0.30000000000000004"),
    "numeric": ("1.10", "1.1", "1.10"),
    "date": ("'2020-02-01'", "'infinity'", "2020-02-01"),
    "time": ("'13:00:00.5'", "'00:00'", "13:00:00.5"),
    "timetz": ("'13:00+02'", "'00:00+00'", "13:00:00+02"),
    "timestamp": ("'2020-02-01 13:00'", "'-infinity'", "2020-02-01 13:00:00"),
    "timestamptz": ("'2020-02-01 13:00+05'", "'2021-01-01 00:00+00'", "2020-02-01 08:00:00+00"),
    "interval": ("'1 day 02:03:04.5'", "'-1 month'", "1 day 02:03:04.5"),
    "uuid": ("'a3bb189e-8bf9-3888-9912-ace4e6543002'", "gen_random_uuid()", "a3bb189e-8bf9-3888-9912-ace4e6543002"),
    "bytea": (r"'\x00ff5c'", r"'\x41'", "00ff5c"),
    "bytea[]": (r"ARRAY['\x00ff5c'::bytea]", "ARRAY[]::bytea[]", r'{"\\x00ff5c"}'),
    "float8[]": ("ARRAY[0.1::float8 + 0.2]", "'{}'", "{0.30000000000000004}"),
    "interval[]": ("ARRAY['1 day 02:03'::interval]", "'{}'", '{"1 day 02:03:00"}'),
    "timestamptz[]": ("ARRAY['2020-02-01 13:00+05'::timestamptz]", "'{}'", '{"2020-02-01 08:00:00+00"}'),
    "text[]": ("ARRAY['a b', NULL]", "'{}'", '{"a b",NULL}'),
    "json": ("""'{"b":  1.0, "a": null}'""", "'[]'", """{"b":  1.0, "a": null}"""),
    "jsonb": ("""'{"b":  1.0, "a": null}'""", "'[]'", """{"a": null, "b": 1.0}"""),
    "money": ("'-1234.5'", "'1'", "-$1,234.50"),
    "inet": ("'10.0.0.1'", "'::1'", "10.0.0.1/32"),
    "point": ("point(0.1::float8 + 0.2, 1)", "'(1,2)'", "(0.30000000000000004,1)"),
    "box": ("box(point(2, 2), point(0, 0.1::float8 + 0.2))", "'(1,1),(0,0)'", "(2,2),(0,0.30000000000000004)"),
    "tstzrange": ("'[2020-02-01 13:00+05,)'", "'empty'", '["2020-02-01 08:00:00+00",)'),
    "numrange": ("'[1.0,2)'", "'empty'", "[1.0,2)"),
    "varchar(9)": ("'a '", "'b'", "a "),
    "char(5)": ("'a '", "'b'", None),
    "name": ("'a '", "'b'", "a "),
    '"char"': ("'a'", "'b'", "a"),
    "bit(4)": ("B'0101'", "B'1111'", "0101"),
    "tsvector": ("'b:2 a'", "'c'", "'a' 'b':2"),
    "shade": ("'light'", "'dark'", "light"),
    "pair": (
        "ROW(0.1::float8 + 0.2, '1 day 02:03'::interval)",
        "ROW(1, '1s')",
        '(0.30000000000000004,"1 day 02:03:00")',
    ),
    "words": ("'a '", "'b'", "a "),
    "words_of_words": ("'a '", "'b'", "a "),
    "bytes": (r"'\x00ff5c'", r"'\x41'", r"\x00ff5c"),
    "length": ("0.1::float8 + 0.2", "1", "0.30000000000000004"),
}
ONLY_POSTGRES = """
    CREATE TYPE shade AS ENUM ('light', 'dark');
    CREATE TYPE pair AS (size FLOAT8, age INTERVAL);
    CREATE DOMAIN words AS TEXT;
    CREATE DOMAIN words_of_words AS words CHECK (VALUE <> 'z');
    CREATE DOMAIN bytes AS BYTEA;
    CREATE DOMAIN length AS FLOAT8;
"""
COLUMNS = [f"value_{number}" for number in range(len(TYPES))]
SPEC = column(table="passage", template="; ".join(f"{{{name}}}" for name in COLUMNS), model="stub_hash")

HOSTILE: dict[str, Sequence[str]] = {
    "extra_float_digits": ["0", "-15", "3"],
    "intervalstyle": ["iso_8601", "sql_standard", "postgres_verbose"],
    "datestyle": ["German, DMY", "SQL, MDY", "Postgres, DMY"],
    "timezone": ["Asia/Kolkata", "America/St_Johns"],
    "bytea_output": ["escape"],
    "xmlbinary": ["hex"],
    "xmloption": ["document"],
    "lc_monetary": ["C"],
    "standard_conforming_strings": ["off"],
    "quote_all_identifiers": ["on"],
    "search_path": ["", "pg_catalog", "other"],
    "array_nulls": ["off"],
    "transform_null_equals": ["on"],
    "client_encoding": ["LATIN1", "SQL_ASCII"],
    "default_transaction_isolation": ["serializable", "repeatable read"],
    "enable_seqscan": ["off"],
    "plan_cache_mode": ["force_generic_plan"],
}


def create_values(connection: psycopg.Connection) -> None:
    """Create a table with a column of each type, and a row for each of the two values."""
    connection.execute("CREATE EXTENSION vector")
    connection.execute(ONLY_POSTGRES)
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in zip(COLUMNS, TYPES, strict=True)
    ]
    connection.execute(
        sql.SQL("CREATE TABLE passage (id INT8 PRIMARY KEY, passage TEXT, {})").format(sql.SQL(", ").join(columns))
    )
    for row in (0, 1):
        values = [
            sql.SQL("({})::{}").format(sql.SQL((first, second)[row]), sql.SQL(kind))
            for kind, (first, second, _) in TYPES.items()
        ]
        connection.execute(
            sql.SQL("INSERT INTO passage VALUES ({}, 'text', {})").format(sql.Literal(row), sql.SQL(", ").join(values))
        )


@pytest.fixture(scope="module")
def url(postgres: Server) -> Iterator[str]:
    with postgres.new_database() as new:
        with psycopg.connect(new, autocommit=True) as connection:
            create_values(connection)
            connection.execute("CREATE SCHEMA other")
        yield new


def apply_settings(url: str, chosen: dict[str, str]) -> None:
    """Let every new session of the database start with these settings, half of them by its role."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        role = sql.Identifier(connection.info.user)
        connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
        connection.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(role, name))
        for number, (setting, value) in enumerate(sorted(chosen.items())):
            target = (
                sql.SQL("ROLE {} IN DATABASE {}").format(role, name)
                if number % 2
                else sql.SQL("DATABASE {}").format(name)
            )
            connection.execute(
                sql.SQL("ALTER {} SET {} = {}").format(target, sql.Identifier(setting), sql.Literal(value))
            )


@pytest.mark.parametrize(("kind", "name"), list(zip(TYPES, COLUMNS, strict=True)))
def test_fingerprint_of_each_type_is_that_of_release_0_1_0(url: str, kind: str, name: str) -> None:
    _, _, text = TYPES[kind]
    apply_settings(url, {})
    with Database(url) as database:
        spec = column(input=name, output=f"v_{name}", model="stub_hash")
        rows = prepare(database, spec)
        (row,) = rows.read(KeyRange(), rows.all_passes[0], None, 1)
        with psycopg.connect(url) as connection:
            connection.execute("SET timezone = 'UTC'")
            seed = prepared(database, spec).seed["seed"]
            identifier = sql.Identifier(name)
            cast = "encode({}, 'hex')" if kind == "bytea" else "{}::text"
            found = connection.execute(
                sql.SQL("SELECT {0}, md5(%s || {0}) FROM passage WHERE id = 0").format(
                    sql.SQL(cast).format(identifier)
                ),
                [seed],
            ).fetchall()
    assert [row.fingerprint] == [fingerprint for _, fingerprint in found]
    assert text is None or text == found[0][0]


@settings(max_examples=12)
@given(
    st.lists(
        st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in HOSTILE.items()}), min_size=2, max_size=2
    )
)
def test_second_client_embeds_nothing_whatever_the_settings(url: str, clients: list[dict[str, str]]) -> None:
    embedded = []
    try:
        for chosen in clients:
            apply_settings(url, chosen)
            with Database(url) as database:
                embedded.append(embed(database, SPEC).rows_embedded)
                bound = prepared(database, SPEC)
                assert range_state(bound, KeyRange()).stale == 0
                assert pending_reasons(bound).pending == 0
                assert sample_inputs(bound, 1) == []
                (result,) = Searcher(database, SPEC, stub(SPEC.model)).search_texts(["a"], SearchQuery(limit=9))
                assert len(result.hits) == 2
    finally:
        apply_settings(url, {})
    assert embedded[1:] == [0]


def test_clients_with_other_settings_write_the_same_text(url: str, calls: CallLog) -> None:
    spec = column(template="{value_4} {value_11} {value_13}", output="v_clients", model="stub_counting")
    for chosen in ({"extra_float_digits": "0"}, {"intervalstyle": "iso_8601", "bytea_output": "escape"}, {}):
        apply_settings(url, chosen)
        with Database(url) as database:
            embed(database, spec)
    assert sorted(calls.inputs()) == ["0.30000000000000004 1 day 02:03:04.5 00ff5c", "1e-10 -1 mons 41"]


@pytest.mark.parametrize("options", ["-c extra_float_digits=0 -c intervalstyle=iso_8601", "-c timezone=Asia/Tokyo"])
def test_settings_of_the_url_do_not_change_the_text(url: str, options: str) -> None:
    apply_settings(url, {})
    with Database(url) as database:
        embed(database, SPEC)
    with Database(psycopg.conninfo.make_conninfo(url, options=options)) as database:
        assert embed(database, SPEC).rows_embedded == 0


@pytest.mark.parametrize(
    "spec", [column(input=["a", "b"]), column(template="{a}{b}"), column(template="<{b}|{a}>")], ids=str
)
def test_padded_text_keeps_the_fingerprint_of_release_0_1_0(postgres: Server, spec: VectorColumn) -> None:
    old_texts = {
        "input": "concat_ws(E'\\n', a, b)",
        "{a}{b}": "(coalesce(a, '') || coalesce(b, ''))",
        "<{b}|{a}>": "('<' || coalesce(b, '') || '|' || coalesce(a, '') || '>')",
    }
    with (
        postgres.new_database() as new,
        Database(new) as database,
        psycopg.connect(new, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, a CHAR(5), b VARCHAR)")
        connection.execute("INSERT INTO passage VALUES (1, 'x', 'y '), (2, 'x', NULL), (3, NULL, ' y')")
        embed(database, spec)
        old = old_texts[spec.template or "input"]
        seed = prepared(database, spec).seed["seed"]
        wrong = connection.execute(
            f"SELECT id FROM passage WHERE passage_vector_fingerprint <> md5(%s::text || {old})", [seed]
        ).fetchall()
        assert wrong == []


@pytest.mark.parametrize("domain", ["AS TEXT", "AS words", "AS VARCHAR(50) CHECK (VALUE <> 'z')"])
def test_blank_value_of_a_domain_over_text_is_not_embedded(postgres: Server, domain: str) -> None:
    with (
        postgres.new_database() as new,
        Database(new) as database,
        psycopg.connect(new, autocommit=True) as connection,
    ):
        connection.execute("CREATE DOMAIN words AS TEXT")
        connection.execute(f"CREATE DOMAIN body {domain}")
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage body)")
        connection.execute("INSERT INTO passage VALUES (1, ''), (2, '  '), (3, 'a'), (4, U&'\\3000')")
        assert embed(database, column()).rows_embedded == 1
        connection.execute("UPDATE passage SET passage = ' ' WHERE id = 3")
        assert embed(database, column()).rows_cleared == 1
        assert set(vectors(connection).values()) == {None}


def test_empty_value_of_a_domain_over_bytea_is_not_embedded(postgres: Server) -> None:
    with (
        postgres.new_database() as new,
        Database(new) as database,
        psycopg.connect(new, autocommit=True) as connection,
    ):
        connection.execute("CREATE DOMAIN picture AS BYTEA")
        connection.execute("CREATE TABLE passage (id INT8 PRIMARY KEY, passage picture)")
        connection.execute("INSERT INTO passage VALUES (1, ''), (2, 'a')")
        assert embed(database, column()).rows_embedded == 1


def test_domain_over_vector_is_an_output(postgres: Server) -> None:
    with (
        postgres.new_database() as new,
        Database(new) as database,
        psycopg.connect(new, autocommit=True) as connection,
    ):
        create_table(connection, texts=["a", "b"])
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE DOMAIN embedding AS VECTOR(8)")
        connection.execute("CREATE DOMAIN passage_embedding AS embedding")
        connection.execute("ALTER TABLE passage ADD COLUMN passage_vector passage_embedding")
        assert embed(database, column()).rows_embedded == 2
        assert embed(database, column()).rows_embedded == 0
        (result,) = Searcher(database, column(), stub()).search_texts(["a"], SearchQuery(limit=1))
        assert [hit.input for hit in result.hits] == ["a"]


def test_domain_over_a_key_type_is_a_key(postgres: Server) -> None:
    with (
        postgres.new_database() as new,
        Database(new) as database,
        psycopg.connect(new, autocommit=True) as connection,
    ):
        connection.execute("CREATE DOMAIN positive AS INT8 CHECK (VALUE > 0)")
        connection.execute("CREATE TABLE passage (id positive PRIMARY KEY, passage TEXT)")
        connection.execute("INSERT INTO passage SELECT n, 'text ' || n FROM generate_series(1, 9) AS n")
        # A bound of a key range need not be a value of the domain.
        assert embed(database, column(), key_range=KeyRange((-1,), (5,))).rows_embedded == 4
        assert embed(database, column(), batch_size=2).rows_embedded == 5
