"""Names that this project gives to indexes and functions, within what both servers keep."""

import hashlib

# PostgreSQL cuts names at 63 bytes without a word; CockroachDB takes longer ones.
LONGEST = 63


def short_name(stem: str, ending: str) -> str:
    """`stem_ending`, the stem cut and told apart by a digest where the whole would be too long."""
    name = f"{stem}_{ending}"
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
    kept = stem.encode()[: LONGEST - len(digest) - len(ending) - 2].decode(errors="ignore")
    return f"{kept}_{digest}_{ending}"
