"""Names of tables and columns as people write them: parsing and displaying, no SQL.

Names are taken exactly as written: `public.Passage` is the table called Passage. Quotes are needed only around a name
that contains a dot or a quote.
"""

import re
from typing import NamedTuple

from crdbvec_pipelines.errors import ConfigurationError

DEFAULT_SCHEMA = "public"

_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')
_PLAIN = re.compile(r"[^\".\s]+")


class TableName(NamedTuple):
    """A table's schema and name, both exactly as the database holds them."""

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "TableName":
        """Reads `table` (in schema `public`) or `schema.table`, either part in double quotes if need be.

        Raises:
            ConfigurationError: the text is not one or two names separated by a dot.
        """
        parts = _PART.findall(text.strip())
        if ".".join(parts) != text.strip() or not 1 <= len(parts) <= 2:
            raise ConfigurationError(
                f"{text!r} is not a table name; write table or schema.table, "
                'with double quotes around a part that contains a dot ("my.table").'
            )
        names = [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts]
        return cls(*names) if len(names) == 2 else cls(DEFAULT_SCHEMA, names[0])

    def __str__(self) -> str:
        return ".".join(_display(part) for part in self)


def _display(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"'
