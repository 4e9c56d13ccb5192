"""The settings of a session: those that every connection of ours has, and those that a single statement runs under."""

from collections.abc import Mapping

from psycopg import sql

from crdbvec_pipelines.database.statement import statement

EVERY_SESSION: Mapping[str, str] = {
    # Texts of dates and times go into fingerprints, so they must be the same everywhere.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "client_encoding": "UTF8",
}
"""What every connection is set to."""

NO_TIMEOUT: Mapping[str, str] = {"statement_timeout": "0s"}
"""For building an index, which takes as long as it takes."""


@statement
def set_session(setting: tuple[str, str | int]) -> sql.Composable:
    """Changes a setting of the session, given by name and value."""
    name, value = setting
    return sql.SQL("SET {} = {}").format(_name(name), sql.Literal(value))


@statement
def reset_session(setting_name: str) -> sql.Composable:
    """Puts a setting of the session back to what it was at connecting."""
    return sql.SQL("RESET {}").format(_name(setting_name))


def _name(name: str) -> sql.Composable:
    """A setting's name, which may have a part before a dot (`hnsw.ef_search`)."""
    return sql.SQL(".").join(map(sql.Identifier, name.split(".")))
