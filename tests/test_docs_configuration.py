"""The page on crdbvec.yaml names every key with its default, and no key that there is not."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from crdbvec_pipelines.config import ProjectConfig, VectorColumn, parse_config

PAGE = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
# Of the table rows: the keys of the first cell, and the second cell.
ROWS = [
    (re.findall(r"`([a-z_.]+)`", match[1]), match[2])
    for match in re.finditer(r"^\| (.*?) \| (.*?) \|", PAGE, re.MULTILINE)
]
DOCUMENTED = {key: default for keys, default in ROWS for key in keys}


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that may be written, dotted below an entry, with its default."""
    for name, field in model.model_fields.items():
        if name == "origin":
            continue
        inner = [part for part in (field.annotation, *get_args(field.annotation)) if _is_spec(part)]
        if not inner:
            yield prefix + name, field.default
        elif inner[0] is VectorColumn:
            yield prefix + name, field.default
            yield from keys(inner[0])
        else:
            yield from keys(inner[0], f"{prefix}{name}.")


def _is_spec(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel) and part.__name__ != "EnvironmentVariable"


def test_every_key_is_on_the_page() -> None:
    assert [key for key, _ in keys(ProjectConfig) if key not in DOCUMENTED] == []


def test_no_key_is_on_the_page_that_there_is_not() -> None:
    known = {key for key, _ in keys(ProjectConfig)} | {"partitions", "follow", "freshness", "checks", "index"}
    assert [key for key in DOCUMENTED if key not in known and key.islower()] == []


def test_defaults_on_the_page_are_those_of_the_code() -> None:
    for key, default in keys(ProjectConfig):
        if isinstance(default, (int, float, str)):
            (told,) = re.findall(r"`(.*?)`", DOCUMENTED[key])
            assert yaml.safe_load(told) == default, key
        elif default is PydanticUndefined:
            assert "required" in DOCUMENTED[key] or DOCUMENTED[key] == "`{}`", key


def test_the_example_on_the_page_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert parse_config(yaml.safe_load(example), "the page", Path()).vectors
