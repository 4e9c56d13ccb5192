"""Session settings: those of every connection, and those of a single statement."""

from collections.abc import Mapping

from psycopg import sql

from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.statement import statement

SAFE_SEARCH_PATH = "pg_catalog, pg_temp"
"""The schemas in which the names of statements are looked up: those of the server only.

A role that may create objects in another schema could otherwise define a function or an operator that fits the types of
a statement better than that of the server, and it would run with the privileges of this project's role. The schema of
temporary objects is the last one, because it is the first one if it is not named.
"""

SESSION_SETTINGS: Mapping[str, str | int] = {
    "search_path": SAFE_SEARCH_PATH,
    "client_encoding": "UTF8",
    # Values are part of fingerprints as text, so these settings, which change the text of dates, times, intervals,
    # floating-point numbers and binary values, must not depend on the server, the database or the role.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": 1,
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
}
"""The settings of every connection, on each kind of server. A dialect adds those that only its server has."""

NO_STATEMENT_TIMEOUT: Mapping[str, str] = {"statement_timeout": "0s"}
"""The settings for an index build, whose duration grows with the table."""


@statement
def set_session(setting: tuple[str, str | int]) -> sql.Composable:
    """Set a session setting, given by name and value.

    The search path is a list, which SET does not take as one text.
    """
    name, value = setting
    if name == "search_path":
        return sql.SQL("SELECT pg_catalog.set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
    return sql.SQL("SET {} = {}").format(_name(name), sql.Literal(value))


@statement
def read_role_path() -> sql.Composable:
    """Read the search path that the role, the database and the URL set, and the first of its schemas that exists."""
    return sql.SQL("SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_schema()")


@statement
def read_backend_pid() -> sql.Composable:
    """Read the process of the server that runs this statement."""
    return sql.SQL("SELECT pg_catalog.pg_backend_pid()")


@statement
def read_is_executing(dialect: Dialect) -> sql.Composable:
    """Return a row if a process of the server executes a statement, neither reading from its client nor writing to it.

    Sent only to servers that announce their processes.
    """
    return dialect.read_is_executing or sql.SQL("")


@statement
def find_vector_schema(dialect: Dialect) -> sql.Composable:
    """Find the schema of the VECTOR type, if the type is not built in."""
    return dialect.find_vector_schema or sql.SQL("")


def role_search_path(role_path: str) -> str:
    """Return the search path for statements that run a user's triggers, whose functions may need that of the role.

    Every function, operator and type of these statements is qualified, or fits the one of the server exactly.
    """
    return f"pg_catalog, {role_path}" if role_path else SAFE_SEARCH_PATH


@statement
def reset_session(setting_name: str) -> sql.Composable:
    """Reset a session setting to its value at the start of the connection."""
    return sql.SQL("RESET {}").format(_name(setting_name))


def _name(name: str) -> sql.Composable:
    """Return the name of a setting, which may have a part before a dot (`hnsw.ef_search`)."""
    return sql.SQL(".").join(map(sql.Identifier, name.split(".")))
