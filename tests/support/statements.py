"""SQL statements that only tests use, sent through the product's connection."""

from typing import LiteralString

import psycopg
from psycopg import sql

from crdbvec_pipelines.database.statement import Statement


def probe(text: LiteralString) -> Statement:
    """Return a statement with this text, which is not in the ledger."""
    return Statement("probe", sql.SQL(text))


def create_failing_function(connection: psycopg.Connection) -> None:
    """Create `fail_every_second_time()`, whose first, third, ... call raises a serialization failure."""
    connection.execute("CREATE SEQUENCE calls")
    connection.execute(
        "CREATE FUNCTION fail_every_second_time() RETURNS INT8 LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('public.calls') % 2 = 1 THEN RAISE EXCEPTION 'restart' USING ERRCODE = '40001'; END IF; "
        "RETURN currval('public.calls'); END $$"
    )
