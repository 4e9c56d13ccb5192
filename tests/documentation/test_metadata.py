"""The reference of the metadata has each key that the code reports, and no other.

The keys are read from the dictionaries in the source, because some are reported only in rare states.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from docsite.reference.dagster_objects import CHECKS, METADATA
from tests.support.processes import ROOT

ORCHESTRATION = ROOT / "crdbvec_pipelines" / "orchestration"
SOURCES = [
    *sorted((ORCHESTRATION / "assets").glob("*.py")),
    ORCHESTRATION / "jobs" / "maintenance.py",
    ORCHESTRATION / "jobs" / "migrate.py",
    ORCHESTRATION / "sensors" / "follow.py",
]
# Other dictionaries of these modules.
CHECK_NAMES = {name for names in CHECKS.values() for name in names}
ROWS_OF_THE_SUMMARY = {"embedded", "failed"}
TAGS_AND_CONFIGURATION = {
    "config",
    "crdbvec/trigger",
    "crdbvec/vector_column",
    "dagster/asset_partition_range_end",
    "dagster/asset_partition_range_start",
    "edited_since",
    "migration",
    "ops",
    "result",
    "source",
}
COLUMNS_OF_THE_PREDICTION = {
    "beam_size",
    "build_beam_size",
    "bytes_read",
    "entries_each",
    "full_vectors",
    "leaf_entries",
    "levels",
    "live_bytes",
    "max_partition_size",
    "partitions",
    "round_trips",
    "share_of_vectors",
}
NOT_METADATA = CHECK_NAMES | ROWS_OF_THE_SUMMARY | TAGS_AND_CONFIGURATION | COLUMNS_OF_THE_PREDICTION


def keys(path: Path) -> Iterator[str]:
    """Yield the keys of the dictionaries in a module: of displays and of assignments."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            nodes: list[ast.expr | None] = [*node.keys]
        elif isinstance(node, ast.DictComp):
            nodes = [node.key]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            nodes = [node.slice]
        else:
            continue
        for each in nodes:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value
            elif isinstance(each, ast.Name) and isinstance(getattr(module, each.id, None), str):
                yield getattr(module, each.id)
            elif isinstance(each, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in each.values)


def is_documented(key: str, documented: set[str]) -> bool:
    """Return whether the reference has a key, or one of the form of a key that is composed."""
    pattern = re.compile(".+".join(map(re.escape, key.split("..."))))
    return any(pattern.fullmatch(each) for each in documented)


def test_reference_has_the_keys_of_the_code() -> None:
    # The other rows of the summary are texts with spaces.
    documented = {key for group in METADATA.values() for key in group}
    found = {key for path in SOURCES for key in keys(path) if " " not in key or "..." in key}
    reported = found - (NOT_METADATA - documented)
    assert [key for key in sorted(reported) if not is_documented(key, documented)] == []
    patterns = [re.compile(".+".join(map(re.escape, key.split("...")))) for key in reported]
    assert [key for key in sorted(documented) if not any(each.fullmatch(key) for each in patterns)] == []
