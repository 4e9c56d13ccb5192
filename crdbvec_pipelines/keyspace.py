"""Key ranges, their partition keys, and the division of a key space. Does not use SQL, Dagster or the configuration.

A partition key is the reversible text of a key range. It consists of `[A-Za-z0-9_:-]` only, which Dagster's UI,
selection syntax and tags accept without escaping:

    public:passage::min::u40                         rows below UUID 40000000-0000-...
    public:orders::teu:i10:i3::teu:i20:i1            composite key (text, int, int)
    <schema>:<table>::<lower>::<upper>

Each value is a letter for its type, followed by its text; a byte outside `[A-Za-z0-9_]` is written `-XX`. If a key
would have more than `MAX_READABLE_LENGTH` characters, texts and bytes in it are written in base64 instead (letters `T`
and `X`), which takes less than half of the characters for texts that are not in ASCII. The key contains the table's
name because Dagster limits the concurrency of equal partition keys across a whole instance. It contains both bounds, so
a key never changes its meaning; only the range with the open upper end is split (see `partitioning`).
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName

KeyValue = int | str | UUID | bytes | bool | date | datetime | Decimal | float
Bound = tuple[KeyValue, ...]

# In ASCII characters. A longer key is written in the shorter form.
MAX_READABLE_LENGTH = 1_000
# Dagster stores the key in run tags and, with the name of the partitions, in a unique index. PostgreSQL rejects index
# rows of more than about 2,700 bytes.
MAX_KEY_LENGTH = 2_000

_ALLOWED = re.compile(r"[A-Za-z0-9_:-]+")
_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_ESCAPED = re.compile(r"(?:[A-Za-z0-9_]|-[0-9A-F]{2})*")
_UUID_DIGITS = 32


class PartitionKeyError(ConfigurationError):
    """A partition key does not belong to the table, or the primary key's values cannot be written as partition keys."""

    remedy = "Run the column's `sync_partitions` job, or set `partitions.max_partitions: 1` as the message says."


@dataclass(frozen=True)
class KeyRange:
    """A half-open primary-key interval `[lower, upper)`.

    Attributes:
        lower: The lower bound, one value per key column; None if the range has no lower bound.
        upper: The upper bound, likewise.
    """

    lower: Bound | None = None
    upper: Bound | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.lower, self.upper) if bound is not None]
        if any(not bound for bound in bounds) or len({len(bound) for bound in bounds}) > 1:
            raise ValueError("the bounds of a key range need the same number of values, at least one")


def partition_key(table: TableName, key_range: KeyRange) -> str:
    """Return the reversible text of a key range of a table.

    Raises:
        PartitionKeyError: A bound contains a value of an unsupported type, or one that is too long for a key.
    """
    text = _key_text(table, key_range, _BY_TYPE)
    if len(text) > MAX_READABLE_LENGTH:
        text = _key_text(table, key_range, _SHORT_BY_TYPE)
    if len(text) > MAX_KEY_LENGTH:
        raise PartitionKeyError(
            f"A partition key of {table} has {len(text)} characters, more than {MAX_KEY_LENGTH}: the values of the "
            "primary key are too long to be bounds. Set `partitions.max_partitions: 1` for this table."
        )
    return text


def _key_text(table: TableName, key_range: KeyRange, codecs: Mapping[type, "_Codec"]) -> str:
    return "::".join(
        [
            f"{_escape(table.schema)}:{_escape(table.name)}",
            "min" if key_range.lower is None else _encode_bound(key_range.lower, codecs),
            "max" if key_range.upper is None else _encode_bound(key_range.upper, codecs),
        ]
    )


def parse_partition_key(text: str, table: TableName) -> KeyRange:
    """Return the key range of a partition key.

    Raises:
        PartitionKeyError: The text is not a partition key of this table, exactly as `partition_key` writes it.
    """
    not_a_key = PartitionKeyError(
        f"{text[:200]!r} is not a partition key of {table}. Run the column's `sync_partitions` job, which removes it."
    )
    parts = text.split("::")
    if not _ALLOWED.fullmatch(text) or len(parts) != 3:
        raise not_a_key
    try:
        owner = tuple(_unescape(part) for part in parts[0].split(":"))
        lower = None if parts[1] == "min" else _decode_bound(parts[1])
        upper = None if parts[2] == "max" else _decode_bound(parts[2])
        key_range = KeyRange(lower, upper)
        # The comparison may raise, too: a signaling NaN of Decimal cannot be compared.
        is_key = owner == tuple(table) and not _is_reversed(key_range) and partition_key(table, key_range) == text
    except (ValueError, InvalidOperation):
        raise not_a_key from None
    if not is_key:
        raise not_a_key
    return key_range


def ranges_between(bounds: Iterable[Bound]) -> list[KeyRange]:
    """Return the ranges into which ascending bounds divide the whole key space; the first and the last are open."""
    inner = list(bounds)
    return [KeyRange(low, high) for low, high in zip([None, *inner], [*inner, None], strict=True)]


def uuid_bounds(count: int) -> list[Bound]:
    """Return bounds that divide the UUID space by prefix into `count` ranges, rounded up to a power of two."""
    bits = max(0, count - 1).bit_length()
    return [(UUID(int=step << (128 - bits)),) for step in range(1, 1 << bits)]


def range_count(rows: int, target_rows: int, max_ranges: int) -> int:
    """Return how many ranges of about `target_rows` rows a table of `rows` rows has, from 1 to `max_ranges`."""
    return max(1, min(max_ranges, -(-rows // target_rows)))


def in_key_order(ranges: Iterable[KeyRange]) -> list[KeyRange] | None:
    """Return those ranges that cover the whole key space without gap or overlap, in key order; None if none do.

    Of several selections that cover it, the one with the most ranges is returned, because a range that was split may
    still exist next to its parts. Bounds are compared for equality only, because the order of text depends on the
    database's collation.
    """
    following: dict[Bound | None, list[KeyRange]] = {}
    incoming: Counter[Bound] = Counter()
    for key_range in dict.fromkeys(ranges):
        following.setdefault(key_range.lower, []).append(key_range)
        if key_range.upper is not None:
            incoming[key_range.upper] += 1
    # By bound: the most ranges that lead from the open lower end to it, and the last of them. The bounds are visited in
    # topological order, so that a bound is visited after all ranges that end at it.
    reached: dict[Bound | None, tuple[int, KeyRange | None]] = {None: (0, None)}
    complete: tuple[int, KeyRange | None] = (0, None)
    ready = [bound for bound in following if bound is None or not incoming[bound]]
    while ready:
        bound = ready.pop()
        for key_range in following.get(bound, ()):
            if bound in reached:
                length = reached[bound][0] + 1
                if key_range.upper is None:
                    complete = max(complete, (length, key_range), key=lambda path: path[0])
                elif length > reached.get(key_range.upper, (0, None))[0]:
                    reached[key_range.upper] = (length, key_range)
            if key_range.upper is not None:
                incoming[key_range.upper] -= 1
                if not incoming[key_range.upper]:
                    ready.append(key_range.upper)
    path: list[KeyRange] = []
    last = complete[1]
    while last is not None:
        path.append(last)
        last = reached[last.lower][1]
    return path[::-1] or None


def _is_reversed(key_range: KeyRange) -> bool:
    """Return whether the bounds are known to be in the wrong order; that of text depends on the column's collation."""
    if key_range.lower is None or key_range.upper is None:
        return False
    if key_range.lower == key_range.upper:
        return True
    first, second = next((a, b) for a, b in zip(key_range.lower, key_range.upper, strict=True) if a != b)
    if type(first) is not type(second):
        return True
    return isinstance(first, (int, UUID)) and first > second  # type: ignore[operator]


def _escape(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in _LITERAL else f"-{byte:02X}" for byte in data)


def _unescape(text: str) -> str:
    if not _ESCAPED.fullmatch(text):
        raise ValueError("not escaped text")
    data = re.sub(r"-([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text).encode("latin-1")
    return data.decode("utf-8", "surrogatepass")


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode_uuid(value: UUID) -> str:
    return value.hex.rstrip("0") or "0"


def _decode_uuid(text: str) -> UUID:
    return UUID(hex=text.ljust(_UUID_DIGITS, "0"))


@dataclass(frozen=True)
class _Codec:
    letter: str
    type: type
    encode: Callable[[Any], str]
    decode: Callable[[str], KeyValue]


# Looked up by exact type, because bool is a subclass of int, and datetime of date.
_CODECS: Sequence[_Codec] = (
    _Codec("b", bool, lambda value: "1" if value else "0", lambda text: {"0": False, "1": True}[text]),
    _Codec("i", int, lambda value: _escape(str(value)), lambda text: int(_unescape(text))),
    _Codec("u", UUID, _encode_uuid, _decode_uuid),
    _Codec("t", str, _escape, _unescape),
    _Codec("x", bytes, lambda value: value.hex(), bytes.fromhex),
    _Codec("d", date, lambda value: _escape(value.isoformat()), lambda text: date.fromisoformat(_unescape(text))),
    _Codec(
        "s", datetime, lambda value: _escape(value.isoformat()), lambda text: datetime.fromisoformat(_unescape(text))
    ),
    _Codec("n", Decimal, lambda value: _escape(str(value)), lambda text: Decimal(_unescape(text))),
    _Codec("f", float, lambda value: _escape(repr(value)), lambda text: float(_unescape(text))),
)
_SHORT_CODECS: Sequence[_Codec] = (
    _Codec(
        "T",
        str,
        lambda value: _to_base64(value.encode("utf-8", "surrogatepass")),
        lambda text: _from_base64(text).decode("utf-8", "surrogatepass"),
    ),
    _Codec("X", bytes, _to_base64, _from_base64),
)
_BY_TYPE = {codec.type: codec for codec in _CODECS}
_SHORT_BY_TYPE = _BY_TYPE | {codec.type: codec for codec in _SHORT_CODECS}
_BY_LETTER = {codec.letter: codec for codec in (*_CODECS, *_SHORT_CODECS)}


def _encode_bound(bound: Bound, codecs: Mapping[type, _Codec]) -> str:
    return ":".join(_encode_value(value, codecs) for value in bound)


def _encode_value(value: KeyValue, codecs: Mapping[type, _Codec]) -> str:
    codec = codecs.get(type(value))
    if codec is None:
        raise PartitionKeyError(
            f"A primary key of type {type(value).__name__} cannot be split into ranges. Supported types are "
            + ", ".join(supported.type.__name__ for supported in _CODECS)
            + ". Set `partitions.max_partitions: 1` for this table."
        )
    return codec.letter + codec.encode(value)


def _decode_bound(text: str) -> Bound:
    return tuple(_decode_value(part) for part in text.split(":"))


def _decode_value(text: str) -> KeyValue:
    codec = _BY_LETTER.get(text[:1])
    if codec is None:
        raise ValueError("unknown type letter")
    try:
        return codec.decode(text[1:])
    except KeyError:
        raise ValueError("not a value of this type") from None
