"""docs/configuration.md documents every key with its default and its description, and no other keys."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from crdbvec_pipelines.config import ProjectConfig, VectorColumn, parse_config
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
# The default and the meaning of each key, from the rows of the tables.
DOCUMENTED = {
    match[1]: (match[2], match[3])
    for match in re.finditer(r"^\| `([a-z_.]+)` \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)
}


def nested_spec(field: FieldInfo) -> type[BaseModel] | None:
    """Return the spec of a nested entry; None for a plain value."""
    if get_origin(field.annotation) is Mapping:
        return None
    parts = (field.annotation, *get_args(field.annotation))
    specs = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    return next((spec for spec in specs if spec.__name__ != "EnvironmentVariable"), None)


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key, dotted below a nested entry, with its field; the nested entries, too."""
    for name, field in model.model_fields.items():
        if name == "origin":
            continue
        yield prefix + name, field
        nested = nested_spec(field)
        if nested is not None:
            yield from fields(nested, "" if nested is VectorColumn else f"{prefix}{name}.")


FIELDS = dict(fields(ProjectConfig))
# The page documents the keys of `models`, which has no value itself. Likewise the top-level key `database`; the key of
# that name in FIELDS is that of an entry.
KEYS = sorted(FIELDS.keys() - {"models"})


def test_page_documents_all_keys_and_no_other() -> None:
    assert sorted(DOCUMENTED) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_meaning_on_the_page_is_the_description_of_the_field(key: str) -> None:
    _, meaning = DOCUMENTED[key]
    assert re.sub(r" See \[.*?\]\(.*?\)\.$", "", meaning) == FIELDS[key].description


@pytest.mark.parametrize("key", KEYS)
def test_default_on_the_page_is_the_default_of_the_field(key: str) -> None:
    documented, _ = DOCUMENTED[key]
    default = FIELDS[key].default
    if isinstance(default, (int, float, str)):
        (text,) = re.findall(r"`(.*?)`", documented)
        assert yaml.safe_load(text) == default
    elif default == ():
        assert documented == "`[]`"
    elif default is PydanticUndefined:
        assert documented in ("required", "`{}`")


@pytest.mark.parametrize("key", KEYS)
def test_description_states_the_bounds(key: str) -> None:
    description = FIELDS[key].description or ""
    bounds = [
        bound
        for constraint in FIELDS[key].metadata
        for name in ("ge", "le", "max_length")
        if (bound := getattr(constraint, name, None)) is not None
    ]
    assert [bound for bound in bounds if f"{bound:,}" not in description] == []


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_description_is_a_sentence(key: str) -> None:
    description = FIELDS[key].description or ""
    assert description[:1].isupper() or description.startswith("`")
    assert description.endswith(".")


def test_example_on_the_page_is_valid() -> None:
    for example in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        assert parse_config(yaml.safe_load(example), "the page", Path()).vectors
