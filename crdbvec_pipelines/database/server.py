"""What the first connection to a database tells: the server, its dialect, and what is in between."""

from typing import NamedTuple

import psycopg
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from crdbvec_pipelines.database.connector import Connector
from crdbvec_pipelines.database.dialects import Dialect, detect
from crdbvec_pipelines.database.errors import is_lost_connection, translate_connecting
from crdbvec_pipelines.database.pooler import find_pooler
from crdbvec_pipelines.database.session import SAFE_SEARCH_PATH, find_vector_schema, read_role_path, set_session
from crdbvec_pipelines.database.url import invalid_option

# A connection that is lost at once is rare.
_INSPECTIONS = 3


class Server(NamedTuple):
    """What is known of a server.

    Attributes:
        dialect: What the server supports.
        has_pooler: Whether a connection pooler is in between.
        database: The name of the database.
        description: The product and its version.
        role_path: The search path of the role.
    """

    dialect: Dialect
    has_pooler: bool
    database: str
    description: str
    role_path: str


def inspect_server(connector: Connector) -> Server:
    """Return what the first connection tells; a lost connection is opened again.

    Raises:
        ConfigurationError: The URL has an invalid option.
        ConnectionRejected: The server rejects the connection, or its name or certificate is wrong.
        SharedSessions: A connection pooler shares the sessions of the server between its connections.
        DatabaseUnavailable: The server cannot be reached.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_lost_connection), stop=stop_after_attempt(_INSPECTIONS), reraise=True
    )
    try:
        return retrying(_inspect_once, connector)
    except psycopg.Error as error:
        raise translate_connecting(error) from None


def text_before_encoding(value: str | bytes | None) -> str:
    """Return a text as psycopg returns it from a session whose encoding is not set yet; empty for NULL."""
    return value.decode() if isinstance(value, bytes) else value or ""


def _inspect_once(connector: Connector) -> Server:
    def connect() -> psycopg.Connection:
        try:
            return connector.connect()
        except psycopg.Error as error:
            raise invalid_option(str(error)) or translate_connecting(error) from None

    with connect() as connection:
        dialect = detect(connection)
        # Before the first setting of the session, which would be one of the sessions that the pooler shares.
        has_pooler = dialect.announces_backend_pid and find_pooler(connection, connect)
        path, schema = connection.execute(read_role_path().query).fetchone() or ("", None)
        if dialect.find_vector_schema is not None:
            connection.execute(set_session(("search_path", SAFE_SEARCH_PATH)).query)
            found = connection.execute(find_vector_schema(dialect).query).fetchone() or (schema,)
            dialect.vector_schema = text_before_encoding(found[0]) or dialect.vector_schema
        description = dialect.describe_server(connection)
        return Server(dialect, has_pooler, connection.info.dbname, description, text_before_encoding(path))
