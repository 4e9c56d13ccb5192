"""Configuration files for the tables and stub models of the tests."""

from pathlib import Path
from typing import Any

import yaml

from tests.support.models import WRAPPERS

ENTRY = {"table": "public.passage", "input": "passage", "output": "passage_vector", "model": "stub_counting"}


def write_config(folder: Path, *entries: dict[str, Any], **top: Any) -> Path:
    """Write crdbvec.yaml into a folder; each entry overrides values of `ENTRY`, and without entries there is one."""
    data = {"models": {"directories": [str(WRAPPERS)]}, **top, "vectors": [{**ENTRY, **e} for e in entries or ({},)]}
    file = folder / "crdbvec.yaml"
    file.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return file
