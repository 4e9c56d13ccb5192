"""A crdbvec.yaml for the tables and stub models of the tests."""

from pathlib import Path
from typing import Any

import yaml

from tests.support.models import WRAPPERS

ENTRY = {"table": "public.passage", "input": "passage", "output": "passage_vector", "model": "stub_counting"}


def write_config(folder: Path, *entries: dict[str, Any], **top: Any) -> Path:
    """Writes crdbvec.yaml into a folder; each entry is the usual one with other values."""
    data = {"models": {"directories": [str(WRAPPERS)]}, **top, "vectors": [{**ENTRY, **e} for e in entries or ({},)]}
    file = folder / "crdbvec.yaml"
    file.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return file
