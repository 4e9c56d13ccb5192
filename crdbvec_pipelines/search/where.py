"""Filters as they are typed after `--where`: `lang=en`, `year>=1990`, `title~^The`, `lang IN (en, de)`.

The result is the same as the filters of a `SearchQuery`. Values stay text, which the database converts to the type of
the column.
"""

import re
from collections.abc import Iterator, Sequence

from crdbvec_pipelines.database.search.filters import Filters, Range, find_subject, is_number
from crdbvec_pipelines.database.table import Table
from crdbvec_pipelines.errors import ConfigurationError

# The leftmost operator ends the name of the column, which is in double quotes if it contains one.
_SUBJECT = r'\s*(?P<subject>"(?:[^"]|"")+"[^\s=<>!~]*|.+?)'
_CONDITION = re.compile(
    _SUBJECT + r"(?:\s+IS\s+(?P<is_not>NOT\s+)?NULL\s*$"
    r"|\s+(?P<not_in>NOT\s+)?IN\s*\((?P<list>.*)\)\s*$"
    r"|\s*(?P<operator>!=|<>|<=|>=|!~\*|!~|~\*|~|=|<|>)\s*(?P<value>.*?)\s*$)",
    re.DOTALL | re.IGNORECASE,
)
_ITEM = re.compile(r"\s*('(?:[^']|'')*'|[^,']*)\s*(?:,|$)")
_RANGE = re.compile(r"(?P<lower>.*?)\.\.(?P<upper>.*)", re.DOTALL)
# Two dots are a part of no value of these types.
_NUMBER_TYPES = {"int2", "int4", "int8", "float4", "float8", "numeric", "money", "oid"}
_TIME_TYPES = {"date", "time", "timetz", "timestamp", "timestamptz", "interval"}
_RANGE_TYPES = {*_NUMBER_TYPES, *_TIME_TYPES, "uuid"}
_FORMS = (
    "COLUMN=VALUE, also with !=, <, <=, > and >=; COLUMN~REGEX, also with ~*, !~ and !~*; COLUMN=FROM..TO; "
    "COLUMN IN (VALUE, ...); COLUMN IS NULL"
)


def parse_where(texts: Sequence[str], table: Table) -> Filters:
    """Return the filters that several texts describe together.

    Values of `=`, `IN` and `IS NULL` for the same subject are alternatives. All other conditions have to be true.

    Raises:
        ConfigurationError: A text is not a condition.
        TableError: A column does not exist.
    """
    filters: dict[str, dict[str, list[object]]] = {}
    for text in texts:
        subject, operator, values = _parse(text, table)
        filters.setdefault(subject, {}).setdefault(operator, []).extend(values)
    return filters


def _parse(text: str, table: Table) -> tuple[str, str, list[object]]:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is not a condition. Write {_FORMS}.")
    subject = _unquoted_name(found["subject"])
    find_subject(table, subject)
    if found["list"] is not None:
        return subject, "!=" if found["not_in"] else "=", list(_items(found["list"], text))
    if found["operator"] is None:
        return subject, "!=" if found["is_not"] else "=", [None]
    operator = found["operator"].replace("<>", "!=")
    value = found["value"]
    if operator in ("=", "!="):
        return subject, operator, [_range(value, subject, table) or _value(value)]
    return subject, operator, [_unquoted(value)]


def _range(value: str, subject: str, table: Table) -> Range | None:
    """Return a range such as `1990..1999` or `1990..`, if values of the subject's type can be such."""
    found = _RANGE.fullmatch(value)
    if found is None or value == "..":
        return None
    column, path = find_subject(table, subject)
    bounds = [found["lower"].strip(), found["upper"].strip()]
    if all(map(is_number, filter(None, bounds))) if path else column.type_name in _RANGE_TYPES:
        lower, upper = (bound or None for bound in bounds)
        return Range(lower, upper)
    return None


def _items(text: str, whole: str) -> Iterator[object]:
    position = 0
    while position < len(text):
        found = _ITEM.match(text, position)
        if found is None:
            raise ConfigurationError(
                f"{whole!r} is not a list of values. Separate them by commas, and write those with a comma or a "
                "quotation mark as 'value'."
            )
        yield _value(found[1].strip())
        position = found.end()


def _value(text: str) -> str | None:
    return None if text == "NULL" else _unquoted(text)


def _unquoted(text: str) -> str:
    """Return a value without the single quotation marks that keep blanks, commas and the word NULL."""
    is_quoted = len(text) > 1 and text.startswith("'") and text.endswith("'")
    return text[1:-1].replace("''", "'") if is_quoted else text


def _unquoted_name(text: str) -> str:
    if not text.startswith('"'):
        return text
    end = text.rindex('"')
    return text[1:end].replace('""', '"') + text[end + 1 :]
