"""Statements of the metadata tables `crdbvec_limits` and `crdbvec_connections` (one of each per schema).

They are the one place in which the processes of all machines agree on the load of a table. Parameters: `table_name`;
`owner`, which identifies one process; times are those of the server.
"""

from psycopg import sql

from crdbvec_pipelines.database.statement import statement

LIMITS_TABLE = "crdbvec_limits"
CONNECTIONS_TABLE = "crdbvec_connections"

_OF_TABLE = sql.SQL("crdbvec_connection.table_name = %(table_name)s::text")
_OF_OWNER = sql.SQL("{} AND crdbvec_connection.owner = %(owner)s::text").format(_OF_TABLE)


def _limits(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, LIMITS_TABLE)


def _connections(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, CONNECTIONS_TABLE)


@statement
def create_limits_table(schema: str) -> sql.Composable:
    """Create the table with one row per table: until when its rows are assigned, and until when a process waits."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL PRIMARY KEY, assigned_until TIMESTAMPTZ, "
        "wanted_until TIMESTAMPTZ)"
    ).format(_limits(schema))


@statement
def create_connections_table(schema: str) -> sql.Composable:
    """Create the table of the connections that processes hold; one row per connection."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, slot INT8 NOT NULL, owner TEXT NOT NULL, "
        "expires_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (table_name, slot))"
    ).format(_connections(schema))


@statement
def assign_rows(schema: str) -> sql.Composable:
    """Assign the next period of a table's schedule to a process, and return in how many seconds the period ends.

    `duration` is the length of the period. A token bucket: the time that no process was assigned is not saved up.
    """
    return sql.SQL(
        "INSERT INTO {} AS crdbvec_limit (table_name, assigned_until) "
        "VALUES (%(table_name)s::text, clock_timestamp() + %(duration)s::interval) "
        "ON CONFLICT (table_name) DO UPDATE SET assigned_until = "
        "greatest(coalesce(crdbvec_limit.assigned_until, clock_timestamp()), clock_timestamp()) "
        "+ %(duration)s::interval "
        "RETURNING extract(epoch FROM crdbvec_limit.assigned_until - clock_timestamp())::float8"
    ).format(_limits(schema))


@statement
def take_connections(schema: str) -> sql.Composable:
    """Take up to `wanted` of the connections 1 to `max_connections` of a table that no process holds.

    The primary key decides between processes that want the same one.
    """
    return sql.SQL(
        "INSERT INTO {connections} AS crdbvec_connection (table_name, slot, owner, expires_at) "
        "SELECT %(table_name)s::text, crdbvec_free.crdbvec_slot, %(owner)s::text, now() + %(lifetime)s::interval "
        "FROM generate_series(1, %(max_connections)s::int8) AS crdbvec_free (crdbvec_slot) "
        "WHERE NOT EXISTS (SELECT 1 FROM {connections} AS crdbvec_held "
        "WHERE crdbvec_held.table_name = %(table_name)s::text AND crdbvec_held.slot = crdbvec_free.crdbvec_slot "
        "AND crdbvec_held.expires_at > now()) ORDER BY crdbvec_free.crdbvec_slot LIMIT %(wanted)s::int8 "
        "ON CONFLICT (table_name, slot) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at "
        "WHERE crdbvec_connection.expires_at <= now() RETURNING crdbvec_connection.slot"
    ).format(connections=_connections(schema))


@statement
def renew_connections(schema: str) -> sql.Composable:
    """Extend the time for which a process holds its connections, and return their numbers."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_connection SET expires_at = now() + %(lifetime)s::interval WHERE {} "
        "RETURNING crdbvec_connection.slot"
    ).format(_connections(schema), _OF_OWNER)


@statement
def return_connections(schema: str) -> sql.Composable:
    """Return connections of a process, those in `slots`."""
    return sql.SQL("DELETE FROM {} AS crdbvec_connection WHERE {} AND crdbvec_connection.slot = ANY(%(slots)s)").format(
        _connections(schema), _OF_OWNER
    )


@statement
def ask_for_connection(schema: str) -> sql.Composable:
    """Ask the processes that hold several connections of a table to return some, for as long as `lifetime`."""
    return sql.SQL(
        "INSERT INTO {} AS crdbvec_limit (table_name, wanted_until) "
        "VALUES (%(table_name)s::text, now() + %(lifetime)s::interval) "
        "ON CONFLICT (table_name) DO UPDATE SET wanted_until = excluded.wanted_until"
    ).format(_limits(schema))


@statement
def is_connection_wanted(schema: str) -> sql.Composable:
    """Return whether a process has asked for a connection of a table; no row if none ever has."""
    return sql.SQL(
        "SELECT coalesce(crdbvec_limit.wanted_until > now(), false) FROM {} AS crdbvec_limit "
        "WHERE crdbvec_limit.table_name = %(table_name)s::text"
    ).format(_limits(schema))


@statement
def delete_table_limits(schema: str) -> sql.Composable:
    """Delete the limits of a table."""
    return sql.SQL("DELETE FROM {} AS crdbvec_limit WHERE crdbvec_limit.table_name = %(table_name)s::text").format(
        _limits(schema)
    )
