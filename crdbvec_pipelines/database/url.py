"""The URL of a database as users write it, checked before it is given to libpq.

The error messages of libpq quote parts of a URL that it cannot read, and with them the password. So what can be wrong
with a URL is checked here, and no message repeats any part of it but the scheme and the name of an option.
"""

import re

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from crdbvec_pipelines.errors import ConfigurationError

EXAMPLE = "postgresql://user:password@host:26257/database?sslmode=verify-full"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\+\w+)?://")
# Those of libpq and of SQLAlchemy, whose URLs also name a driver: postgresql+psycopg://, cockroachdb+psycopg2://.
_SCHEMES = frozenset({"postgres", "postgresql", "cockroach", "cockroachdb"})
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# libpq's own messages about the value of an option: 'invalid sslmode value: "x"', 'invalid integer value "x" for
# connection option "connect_timeout"', 'invalid port number: "x"'.
_INVALID_OPTION = re.compile(
    r"invalid (?:integer value .* for connection option \"(\w+)\"|(\w+) (?:value|number):)", re.S
)


def libpq_url(url: str) -> str:
    """Return a URL or connection string as libpq reads it.

    Args:
        url: A URL of PostgreSQL, CockroachDB or SQLAlchemy, or a connection string (`host=... dbname=...`).

    Raises:
        ConfigurationError: The URL is not valid; the message says what to correct.
    """
    if any(not character.isprintable() for character in url):
        raise ConfigurationError(
            "The database URL contains a line end or another character that cannot be part of a URL. Remove it; "
            "in a shell, `printf` writes a file without a line end, and `$(cat file)` removes it."
        )
    scheme = _SCHEME.match(url)
    if scheme is not None:
        if scheme[1].lower() not in _SCHEMES:
            raise ConfigurationError(
                f"The database URL starts with {scheme[0]}, which is not a URL of CockroachDB or PostgreSQL. "
                f"Write it as {EXAMPLE}."
            )
        url = f"postgresql://{url[scheme.end() :]}"
    _check_parts(url)
    return url


def invalid_option(message: str) -> ConfigurationError | None:
    """Return the error for an option of the URL whose value libpq rejected; None if the message is about another error.

    Args:
        message: The message of libpq.
    """
    found = _INVALID_OPTION.search(message)
    if found is None:
        return None
    name = found[1] or found[2]
    values = f"; the values are {', '.join(_SSL_MODES)}" if name == "sslmode" else ""
    return ConfigurationError(f"The database URL has an invalid value for {name}{values}. Correct it.")


def _check_parts(url: str) -> None:
    """Raise an error for a URL that libpq would divide at the wrong place, and whose parts its messages would quote."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except ProgrammingError:
        raise ConfigurationError(f"The database URL is not valid. Write it as {EXAMPLE}.") from None
    # libpq ends the password at the first @ and takes the rest for the host. The name of a socket may start with an @.
    if "@" in parts.get("host", "")[1:]:
        raise ConfigurationError("The database URL has an @ in its user name or password. Write it as %40.")
    # libpq ends the host at the first /, and takes the password before it for the port and the rest for the database.
    if "@" in parts.get("dbname", ""):
        raise ConfigurationError("The database URL has a / in its user name or password. Write it as %2F.")
    # Before libpq reads the port, psycopg resolves the host with it, whose error does not name the port.
    if any(port and not port.isdecimal() for port in parts.get("port", "").split(",")):
        raise ConfigurationError("The database URL has an invalid value for port. Write it as a number.")
    if any(not character.isprintable() for value in parts.values() for character in value):
        raise ConfigurationError(
            "The database URL contains an escaped line end or control character (such as %0A). Remove it."
        )
