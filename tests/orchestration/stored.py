"""A project on an instance whose storage is PostgreSQL, as in production; it is emptied for each test."""

from collections.abc import Mapping
from pathlib import Path

from crdbvec_pipelines.config import ProjectConfig, parse_config
from tests.orchestration.project import ENTRY
from tests.support.models import WRAPPERS


def configuration(url: str, *entries: Mapping[str, object], **top: object) -> ProjectConfig:
    """One vector column for each entry; the usual one where there is none."""
    data: dict[str, object] = {
        "database": {"url": url},
        "models": {"directories": [str(WRAPPERS)]},
        "vectors": [{**ENTRY, **entry} for entry in entries or ({},)],
        **top,
    }
    return parse_config(data, "crdbvec.yaml", Path())
