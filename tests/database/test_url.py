"""The URL of a database: the forms that are accepted, and a sentence with the remedy for the others."""

from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseUnavailable
from crdbvec_pipelines.database.url import libpq_url
from crdbvec_pipelines.errors import ConfigurationError
from tests.support.servers import Server
from tests.support.statements import probe

SCHEMES = (
    "postgres",
    "postgresql",
    "cockroach",
    "cockroachdb",
    "postgresql+psycopg",
    "postgresql+psycopg2",
    "postgresql+asyncpg",
    "cockroachdb+psycopg2",
    "CockroachDB",
)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_urls_of_servers_and_of_sqlalchemy_are_accepted(url: str, connection: psycopg.Connection, scheme: str) -> None:
    with Database(f"{scheme}://{url.split('://', 1)[1]}") as database:
        assert database.name == connection.info.dbname


def test_connection_string_is_not_changed() -> None:
    assert libpq_url("host=localhost dbname=a user='b c'") == "host=localhost dbname=a user='b c'"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("postgresql://u:secret@localhost/d\n", "contains a line end or another character"),
        ("\npostgresql://u:secret@localhost/d", "contains a line end"),
        ("postgresql://u:secret@localhost/d\r\n?sslmode=require", "contains a line end"),
        ("postgresql://u:secret@localhost/d%0A", "contains an escaped line end"),
        ("host=localhost password=secret\n", "contains a line end"),
        ("postgresql://u:secret@localhost/\udcff", "contains a line end or another character"),
        ("mysql://u:secret@localhost/d", "starts with mysql://, which is not a URL of CockroachDB or PostgreSQL"),
        ("mysql+pymysql://u:secret@localhost/d", r"starts with mysql\+pymysql://"),
        ("http://u:secret@localhost/d", "starts with http://"),
        (
            "postgresql://u:secret@localhost:1/d?sslmode=bogus",
            "invalid value for sslmode; the values are disable, allow",
        ),
        ("postgresql://u:secret@localhost:1/d?target_session_attrs=x", "invalid value for target_session_attrs"),
        ("postgresql://u:secret@localhost:1/d?gssencmode=x", "invalid value for gssencmode"),
        ("postgresql://u:secret@localhost:1/d?channel_binding=x", "invalid value for channel_binding"),
        ("postgresql://u:secret@localhost:port/d", "invalid value for port"),
        ("postgresql://u:secret@localhost:99999/d", "invalid value for port"),
        ("host=localhost port=5432,secret", "invalid value for port"),
        ("postgresql://u:secret@localhost:1/d?keepalives=x", "invalid value for keepalives"),
        ("postgresql://u:secret@localhost:1/d?sslmod=require", "is not valid. Write it as"),
        ("localhost/d", "is not valid. Write it as"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_the_password(wrong: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as raised:
        Database(wrong)
    assert "secret" not in str(raised.value)
    assert "Run the same command again" not in str(raised.value)


# A host on which no server listens.
ABSENT = ("127.0.0.1", "1")


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("is_url", [True, False])
def test_every_host_of_a_url_is_tried(postgres: Server, is_first: bool, is_url: bool) -> None:
    with postgres.new_database() as url:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        present = (parts["host"], parts.get("port", "5432"))
        hosts, ports = zip(*((ABSENT, present) if is_first else (present, ABSENT)), strict=True)
        several = make_conninfo("", **{**parts, "host": ",".join(hosts), "port": ",".join(ports)})
        if is_url:
            places = ",".join(f"{quote(host, safe='')}:{port}" for host, port in zip(hosts, ports, strict=True))
            several = f"postgresql://{parts['user']}@{places}/{parts['dbname']}"
        with Database(several, max_connections=2) as database:
            assert database.name == parts["dbname"]
            # Every connection of the pool tries the hosts.
            database.renew_connections()
            assert database.fetch(probe("SELECT 1")) == [(1,)]


def test_a_host_that_is_unavailable_may_return_although_another_one_does_not_exist() -> None:
    with pytest.raises(DatabaseUnavailable):
        Database("postgresql://u@does-not-exist.invalid:1,127.0.0.1:1/d")
