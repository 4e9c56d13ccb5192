"""Session settings: those of every connection, and those of a single statement."""

from collections.abc import Mapping

from psycopg import sql

from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.statement import statement

SESSION_SETTINGS: Mapping[str, str | int] = {
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
    """Set a session setting, given by name and value."""
    name, value = setting
    return sql.SQL("SET {} = {}").format(_name(name), sql.Literal(value))


@statement
def add_vector_schema(dialect: Dialect) -> sql.Composable:
    """Make the VECTOR type visible, whatever the search path of the role or the database is."""
    return dialect.add_vector_schema or sql.SQL("")


@statement
def reset_session(setting_name: str) -> sql.Composable:
    """Reset a session setting to its value at the start of the connection."""
    return sql.SQL("RESET {}").format(_name(setting_name))


def _name(name: str) -> sql.Composable:
    """Return the name of a setting, which may have a part before a dot (`hnsw.ef_search`)."""
    return sql.SQL(".").join(map(sql.Identifier, name.split(".")))
