"""Names of the indexes and functions that this project creates, within the length that both servers keep."""

import hashlib

# PostgreSQL truncates longer names with a notice only; CockroachDB allows longer ones.
MAX_IDENTIFIER_BYTES = 63
# Hexadecimal digits: enough that two names of one schema do not collide.
_DIGEST_CHARACTERS = 8


def short_name(stem: str, ending: str) -> str:
    """Return `stem_ending`. If that is too long, the stem is truncated and a digest of the whole stem is added."""
    name = f"{stem}_{ending}"
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    digest = hashlib.sha256(stem.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    kept = stem.encode()[: MAX_IDENTIFIER_BYTES - len(digest) - len(ending) - 2].decode(errors="ignore")
    return f"{kept}_{digest}_{ending}"
