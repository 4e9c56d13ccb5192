"""The databases of crdbvec.yaml, whose URLs are read from the environment and contain no password in the file."""

import os
import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from crdbvec_pipelines.config.sections import Spec
from crdbvec_pipelines.errors import ConfigurationError

URL_VARIABLE = "CRDBVEC_URL"

DEFAULT_DATABASE = "default"
"""What commands call the database of the key `database`, which has no name in the file."""


# A URL in place of a name contains other characters. It may contain a password, so no message repeats it.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_VARIABLE = "must be {env: <the variable that contains the URL>}, or a URL without a password"


class EnvironmentVariable(Spec):
    """A value that is read from the environment when it is needed, so that no file contains it."""

    env: str = Field(min_length=1, description="The name of the environment variable.")

    def read(self) -> str:
        """Return the variable's value.

        Raises:
            ConfigurationError: The variable is not set.
        """
        value = os.environ.get(self.env)
        if not value:
            if _VARIABLE.fullmatch(self.env) is None:
                raise ConfigurationError(f"database.url: {_NO_VARIABLE}.")
            raise ConfigurationError(
                f"The environment variable {self.env} is not set; set it to the database's URL, "
                "for example postgresql://user:password@host:26257/database?sslmode=verify-full."
            )
        return value


# In a URL's query or in the form `host=... password=...`; libpq accepts both.
_PASSWORD = re.compile(r"(?:^|[?&\s])(?:ssl)?password\s*=", re.IGNORECASE)


def _url_without_password(value: object) -> object:
    if isinstance(value, EnvironmentVariable):
        return value
    if isinstance(value, str):
        if urlsplit(value).password or _PASSWORD.search(value):
            raise ValueError("contains a password; write {env: CRDBVEC_URL} here and set that variable to the URL")
        return value
    if isinstance(value, Mapping) and set(value) == {"env"} and _VARIABLE.fullmatch(str(value["env"])):
        return EnvironmentVariable(env=value["env"])
    raise ValueError(_NO_VARIABLE)


class DatabaseSpec(Spec):
    """The database that contains the tables."""

    url: Annotated[EnvironmentVariable | str, BeforeValidator(_url_without_password)] = Field(
        default=EnvironmentVariable(env=URL_VARIABLE),
        description="The URL of the database, with any scheme of CockroachDB, PostgreSQL or SQLAlchemy "
        "(`cockroachdb://`, `postgresql+psycopg://`). `{env: NAME}` reads it from an environment variable; a URL may "
        "also be written here, but not with a password.",
    )
    reply_timeout_seconds: float = Field(
        default=60,
        ge=1,
        description="Seconds without a reply after which a connection counts as lost, unless the server is still "
        "executing the statement; 1 or more.",
    )

    def read_url(self) -> str:
        """Return the URL, from the environment if the file refers to a variable.

        Raises:
            ConfigurationError: The environment variable is not set.
        """
        return self.url if isinstance(self.url, str) else self.url.read()
