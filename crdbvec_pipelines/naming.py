"""Names of tables as users write them: parsing and formatting, without SQL.

Names are case-sensitive: `public.Passage` is the table named Passage. Double quotes are needed only around a name that
contains a dot or a double quote.
"""

import re
from typing import NamedTuple

from crdbvec_pipelines.errors import ConfigurationError

DEFAULT_SCHEMA = "public"

_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')
_PLAIN = re.compile(r"[^\".\s]+")


class TableName(NamedTuple):
    """A table's schema and name, both exactly as in the database."""

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "TableName":
        """Parse `table` (in the schema `public`) or `schema.table`; either part may be in double quotes.

        Raises:
            ConfigurationError: The text is not one or two names separated by a dot.
        """
        parts = _PART.findall(text.strip())
        if ".".join(parts) != text.strip() or not 1 <= len(parts) <= 2:
            raise ConfigurationError(
                f"{text!r} is not a table name. Write table or schema.table, "
                'with double quotes around a part that contains a dot ("my.table").'
            )
        names = [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts]
        return cls(*names) if len(names) == 2 else cls(DEFAULT_SCHEMA, names[0])

    def __str__(self) -> str:
        return ".".join(_display(part) for part in self)


def _display(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"'
