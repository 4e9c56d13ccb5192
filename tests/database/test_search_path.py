"""Functions and operators that another role created are never called by the statements of this project."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import psycopg
import pytest
from psycopg import sql

from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.column import open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.dialects import PostgresDialect
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.range_state import range_state
from crdbvec_pipelines.database.search.nearest import NearestNeighbors
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.keyspace import KeyRange
from tests.database import ledger
from tests.support.models import registry
from tests.support.servers import Server
from tests.support.tables import column, vectors
from tests.support.work import embed, prepare

# Each function records its call in a table, and returns what the one of the server would.
HOSTILE = """
CREATE TABLE public.called (name TEXT);
CREATE FUNCTION public.seen(what TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO public.called VALUES (what); RETURN what; END $$;
CREATE FUNCTION public.btrim(a VARCHAR, b TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('btrim'); RETURN pg_catalog.btrim(a::text, b); END $$;
CREATE FUNCTION public.ltrim(a VARCHAR, b TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('ltrim'); RETURN pg_catalog.ltrim(a::text, b); END $$;
CREATE FUNCTION public.concat_ws(a TEXT, b TEXT, c TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('concat_ws'); RETURN pg_catalog.concat_ws(a, b, c); END $$;
CREATE FUNCTION {schema}.md5(a TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('md5'); RETURN pg_catalog.md5(a); END $$;
CREATE FUNCTION {schema}.joined(a TEXT, b VARCHAR) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('||'); RETURN pg_catalog.textcat(a, b::text); END $$;
CREATE OPERATOR {schema}.|| (LEFTARG = TEXT, RIGHTARG = VARCHAR, FUNCTION = {schema}.joined);
CREATE FUNCTION {schema}.joined(a TEXT, b TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('||'); RETURN pg_catalog.textcat(a, b); END $$;
CREATE OPERATOR {schema}.|| (LEFTARG = TEXT, RIGHTARG = TEXT, FUNCTION = {schema}.joined);
CREATE FUNCTION public.equal(a VARCHAR, b VARCHAR) RETURNS BOOL LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('='); RETURN pg_catalog.texteq(a::text, b::text); END $$;
CREATE OPERATOR public.= (LEFTARG = VARCHAR, RIGHTARG = VARCHAR, FUNCTION = public.equal);
CREATE FUNCTION public.array_position(a INT2[], b INT2) RETURNS INT LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.seen('array_position'); RETURN pg_catalog.array_position(a, b); END $$;
"""


# A type with operators of its own in the same schema, as those of extensions such as citext and ltree.
BASE_TYPE = """
SET client_min_messages = error;
CREATE TYPE app.label;
CREATE FUNCTION app.label_in(CSTRING) RETURNS app.label IMMUTABLE STRICT LANGUAGE internal AS 'textin';
CREATE FUNCTION app.label_out(app.label) RETURNS CSTRING IMMUTABLE STRICT LANGUAGE internal AS 'textout';
CREATE TYPE app.label (INPUT = app.label_in, OUTPUT = app.label_out, STORAGE = extended, COLLATABLE = true);
CREATE FUNCTION app.eq(app.label, app.label) RETURNS BOOL IMMUTABLE STRICT LANGUAGE internal AS 'texteq';
CREATE FUNCTION app.lt(app.label, app.label) RETURNS BOOL IMMUTABLE STRICT LANGUAGE internal AS 'text_lt';
CREATE FUNCTION app.le(app.label, app.label) RETURNS BOOL IMMUTABLE STRICT LANGUAGE internal AS 'text_le';
CREATE FUNCTION app.gt(app.label, app.label) RETURNS BOOL IMMUTABLE STRICT LANGUAGE internal AS 'text_gt';
CREATE FUNCTION app.ge(app.label, app.label) RETURNS BOOL IMMUTABLE STRICT LANGUAGE internal AS 'text_ge';
CREATE FUNCTION app.cmp(app.label, app.label) RETURNS INT IMMUTABLE STRICT LANGUAGE internal AS 'bttextcmp';
CREATE OPERATOR app.= (LEFTARG = app.label, RIGHTARG = app.label, FUNCTION = app.eq, COMMUTATOR = OPERATOR(app.=));
CREATE OPERATOR app.< (LEFTARG = app.label, RIGHTARG = app.label, FUNCTION = app.lt);
CREATE OPERATOR app.<= (LEFTARG = app.label, RIGHTARG = app.label, FUNCTION = app.le);
CREATE OPERATOR app.> (LEFTARG = app.label, RIGHTARG = app.label, FUNCTION = app.gt);
CREATE OPERATOR app.>= (LEFTARG = app.label, RIGHTARG = app.label, FUNCTION = app.ge);
CREATE OPERATOR CLASS app.label_ops DEFAULT FOR TYPE app.label USING btree AS OPERATOR 1 app.<, OPERATOR 2 app.<=,
  OPERATOR 3 app.=, OPERATOR 4 app.>=, OPERATOR 5 app.>, FUNCTION 1 app.cmp(app.label, app.label);
"""


@dataclass(frozen=True)
class Hostile:
    """A database in which other objects have the names of those of the server and of pgvector."""

    url: str
    owner: psycopg.Connection

    def called(self) -> list[str]:
        return [name for (name,) in self.owner.execute("SELECT DISTINCT name FROM public.called").fetchall()]


@pytest.fixture
def hostile(postgres: Server) -> Iterator[Hostile]:
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as owner:
        owner.execute('CREATE SCHEMA early; CREATE SCHEMA "Vector types"')
        owner.execute('CREATE EXTENSION vector WITH SCHEMA "Vector types"')
        owner.execute(HOSTILE.replace("{schema}", "early").encode())
        # The schema with the hostile functions comes before that of the server, and pgvector's is not on the path.
        name = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("ALTER DATABASE {} SET search_path = early, pg_catalog, public").format(name))
        owner.execute(
            "CREATE TABLE public.passage (id VARCHAR(20) PRIMARY KEY, title VARCHAR(20), passage VARCHAR(200))"
        )
        owner.execute(
            "INSERT INTO public.passage SELECT 'k' || n, 't' || n, 'a text ' || n FROM generate_series(1, 9) n"
        )
        owner.execute("TRUNCATE public.called")
        yield Hostile(url, owner)


@pytest.mark.parametrize("staleness", ["fingerprint", "trigger", "nulls_only"])
@pytest.mark.parametrize(
    "inputs", [{"input": "passage"}, {"input": ("title", "passage")}, {"template": "{title}: {passage}"}]
)
def test_no_function_or_operator_of_another_role_is_called(
    hostile: Hostile, staleness: str, inputs: dict[str, object]
) -> None:
    spec = column(model="stub_hash", staleness=staleness, index={}, **inputs)
    with Database(hostile.url) as database:
        assert embed(database, spec).rows_embedded == 9
        VectorIndex(open_column(database, spec, registry().load("stub_hash"))).build()
        hostile.owner.execute("UPDATE public.passage SET passage = '' WHERE id = 'k3'")
        hostile.owner.execute("UPDATE public.passage SET passage = 'other' WHERE id = 'k4'")
        # The application's own session calls what its path finds first.
        hostile.owner.execute("TRUNCATE public.called")
        embed(database, spec)
        bound = open_column(database, spec, registry().load("stub_hash"))
        rows = prepare(database, spec)
        rows.count(KeyRange())
        range_state(bound, KeyRange())
        for exact in (False, True):
            query = SearchQuery(limit=3, filters={"title": "t5"}, exact=exact)
            found = NearestNeighbors(bound).find(np.ones(8, np.float32), query)
            assert len(found.rows) == 1
    assert hostile.called() == []


def test_the_trigger_of_this_project_calls_no_function_of_another_role(hostile: Hostile) -> None:
    spec: VectorColumn = column(model="stub_hash", staleness="trigger", input="passage")
    hostile.owner.execute(
        "CREATE FUNCTION public.differs(a TEXT, b TEXT) RETURNS BOOL LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM public.seen('<>'); RETURN a OPERATOR(pg_catalog.<>) b; END $$"
    )
    hostile.owner.execute("CREATE OPERATOR early.= (LEFTARG = TEXT, RIGHTARG = TEXT, FUNCTION = public.differs)")
    with Database(hostile.url) as database, psycopg.connect(hostile.url, autocommit=True) as application:
        assert embed(database, spec).rows_embedded == 9
        application.execute("UPDATE public.passage SET passage = 'other' WHERE passage.id LIKE 'k4'")
        cleared = application.execute("SELECT id FROM public.passage WHERE passage_vector IS NULL").fetchall()
    assert cleared == [("k4",)]
    assert hostile.called() == []


def test_a_trigger_function_with_another_definition_is_replaced(hostile: Hostile) -> None:
    spec = column(model="stub_hash", staleness="trigger", input="passage")
    settings = "SELECT proname, proconfig FROM pg_catalog.pg_proc WHERE proname LIKE 'crdbvec_stale%'"
    with Database(hostile.url) as database:
        prepare(database, spec)
        ((name, fixed),) = hostile.owner.execute(settings).fetchall()
        assert fixed == ["search_path=pg_catalog, pg_temp"]
        # As release 0.1.0 made it: another name, and no search path.
        hostile.owner.execute(sql.SQL("ALTER FUNCTION public.{} RESET search_path").format(sql.Identifier(name)))
        hostile.owner.execute(
            sql.SQL("ALTER FUNCTION public.{} RENAME TO crdbvec_stale_passage_0").format(sql.Identifier(name))
        )
        prepare(database, spec)
    assert hostile.owner.execute(settings).fetchall() == [(name, fixed)]


# The statements that are sent with the search path of the role. Without a schema, they contain words that are no
# functions, and an aggregate without arguments, which is that of the first schema.
WITH_ROLE_PATH = {
    "adopt_vectors",
    "clear_unlocked_vector",
    "clear_vector",
    "rewrite_a_vector",
    "write_unlocked_vector",
    "write_vector",
}
NO_FUNCTIONS = {
    "AND",
    "AS",
    "COALESCE",
    "COUNT",
    "EXISTS",
    "FROM",
    "MATERIALIZED",
    "NOT",
    "OPERATOR",
    "OR",
    "SELECT",
    "WHERE",
}
LITERAL = re.compile(r"E?'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|%\(\w+\)s")


def unqualified(text: str) -> list[str]:
    """Return the functions and operators of a statement that have no schema."""
    # The assignments of an UPDATE contain no operator.
    plain = re.sub(r"(SET|,) name = ", " ", LITERAL.sub("name", text))
    functions = [word for word in re.findall(r"(?<![.\w])(\w+) ?\(", plain) if word.upper() not in NO_FUNCTIONS]
    operators = re.findall(r"[-+*/<>=~!@#%^&|]+", re.sub(r"OPERATOR\(\w+\.\S+?\)|count\(\*\)", "", plain))
    return functions + operators


def test_statements_with_the_search_path_of_the_role_name_every_schema() -> None:
    texts = [
        entry.statement.text
        for name, _, entries in ledger.build(PostgresDialect())
        if name in WITH_ROLE_PATH
        for entry in entries
    ]
    assert len(texts) >= len(WITH_ROLE_PATH)
    assert {text: unqualified(text) for text in texts if unqualified(text)} == {}
    assert unqualified("UPDATE t SET \"v\" = NULL WHERE md5(a) = 'x' AND b OPERATOR(pg_catalog.||) c <> 'd'") == [
        "md5",
        "=",
        "<>",
    ]


@pytest.fixture
def plain(postgres: Server) -> Iterator[Hostile]:
    """A database in which an application uses the search path of its role."""
    with postgres.new_database() as url, psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA app")
        name = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("ALTER DATABASE {} SET search_path = app, public").format(name))
        owner.execute("SET search_path = app, public")
        owner.execute("CREATE TABLE app.passage (id INT8 PRIMARY KEY, passage TEXT)")
        owner.execute("INSERT INTO app.passage VALUES (1, 'a'), (2, 'b')")
        yield Hostile(url, owner)


def test_the_functions_of_a_user_find_what_is_on_the_search_path_of_the_role(plain: Hostile) -> None:
    plain.owner.execute(
        """
        CREATE TABLE app.history (id INT8, at TIMESTAMPTZ DEFAULT now());
        CREATE FUNCTION app.shorter(t TEXT) RETURNS TEXT IMMUTABLE LANGUAGE plpgsql AS
          $$ BEGIN RETURN left(t, 1); END $$;
        CREATE FUNCTION app.short(t TEXT) RETURNS TEXT IMMUTABLE LANGUAGE plpgsql AS
          $$ BEGIN RETURN shorter(t); END $$;
        CREATE FUNCTION app.record() RETURNS TRIGGER LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO history (id) VALUES (NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER record AFTER UPDATE ON app.passage FOR EACH ROW EXECUTE FUNCTION app.record();
        ALTER TABLE app.passage ADD COLUMN initial TEXT GENERATED ALWAYS AS (app.short(passage)) STORED;
        """
    )
    with Database(plain.url) as database:
        assert embed(database, column(table="app.passage", model="stub_hash")).rows_embedded == 2
        plain.owner.execute("UPDATE app.passage SET passage = '' WHERE id = 1")
        embed(database, column(table="app.passage", model="stub_hash"))
    assert plain.owner.execute("SELECT id, count(*) FROM app.history GROUP BY id ORDER BY id").fetchall() == [
        (1, 3),
        (2, 1),
    ]


def test_the_session_names_no_schema_of_users(plain: Hostile) -> None:
    with Database(plain.url) as database, ExitStack() as used:
        for connection in [used.enter_context(database._sessions.connection()) for _ in range(2)]:
            assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)


@pytest.mark.parametrize("extension", [None, "app", "Other"])
def test_the_extension_is_created_where_the_role_would_create_it_or_found(
    plain: Hostile, extension: str | None
) -> None:
    with Database(plain.url) as database:
        # After the connection was opened, as another process may do.
        if extension is not None:
            name = sql.Identifier(extension)
            plain.owner.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
            plain.owner.execute(sql.SQL("CREATE EXTENSION vector WITH SCHEMA {}").format(name))
        assert embed(database, column(table="app.passage", model="stub_hash")).rows_embedded == 2
    installed = plain.owner.execute(
        "SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    ).fetchall()
    assert installed == [(extension or "app",)]
    assert len(vectors(plain.owner, table=sql.Identifier("app", "passage"))) == 2


@pytest.mark.parametrize("kind", ["app.mood", "app.words", "app.pair", "app.label"])
def test_types_of_other_schemas_are_keys_and_inputs(plain: Hostile, kind: str) -> None:
    plain.owner.execute(
        "CREATE TYPE app.mood AS ENUM ('a', 'b'); CREATE DOMAIN app.words AS TEXT; "
        "CREATE TYPE app.pair AS (n INT8, t TEXT)"
    )
    plain.owner.execute(BASE_TYPE)
    values = {"app.pair": ["(1,a)", "(2,b)"]}.get(kind, ["a", "b"])
    plain.owner.execute(f"CREATE TABLE app.typed (id {kind} PRIMARY KEY, body {kind})".encode())
    for each in values:
        plain.owner.execute(f"INSERT INTO app.typed VALUES ('{each}', '{each}')".encode())
    spec = column(table="app.typed", input="body", model="stub_hash", staleness="trigger")
    with Database(plain.url) as database:
        assert embed(database, spec).rows_embedded == 2
        plain.owner.execute(f"UPDATE app.typed SET body = '{values[1]}' WHERE id = '{values[0]}'::{kind}".encode())
        assert embed(database, spec).rows_embedded == 1
        assert embed(database, spec).rows_read == 0
