"""Every key of crdbvec.yaml, from the pydantic models: its type, bounds, default and meaning."""

from collections.abc import Iterator, Mapping
from typing import Any

from crdbvec_pipelines.config import ProjectConfig

_HEAD = """\
# Keys of crdbvec.yaml

Every key with its type, bounds and default. [crdbvec.yaml](../configuration.md) has the same keys in groups, with an
example and links; `crdbvec init` writes a file for a table. In a `dg` project they are the attributes of the component
`crdbvec_pipelines.orchestration.component.VectorColumns`.

| key | type | default | meaning |
|---|---|---|---|
"""

_Schema = Mapping[str, Any]
_BOUNDS = {"minimum": "at least {}", "maximum": "at most {}", "maxLength": "at most {} characters"}


def keys() -> Iterator[tuple[str, _Schema, bool]]:
    """Yield every key, dotted below a nested entry, with its JSON schema, and whether it is required."""
    whole = ProjectConfig.model_json_schema()
    yield from _keys(whole, whole["$defs"], "")


def _keys(schema: _Schema, definitions: _Schema, prefix: str) -> Iterator[tuple[str, _Schema, bool]]:
    for name, value in schema["properties"].items():
        if name == "origin":
            continue
        yield f"{prefix}{name}", value, name in schema.get("required", ())
        nested = _nested(value, definitions)
        if nested is not None:
            # The entries of a list have their own table of keys in the file.
            yield from _keys(nested, definitions, f"{prefix}{name}[]." if "items" in value else f"{prefix}{name}.")


def _nested(value: _Schema, definitions: _Schema) -> _Schema | None:
    """Return the schema of a nested entry; None for a plain value."""
    for part in [value, *value.get("anyOf", ()), value.get("items", {})]:
        found = definitions.get(part.get("$ref", "").rsplit("/", 1)[-1], {})
        if "properties" in found and found.get("title") != "EnvironmentVariable":
            return dict(found)
    return None


def _type(value: _Schema) -> str:
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(part) for part in value["anyOf"] if part.get("type") != "null"))
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return "`{env: NAME}`" if name == "EnvironmentVariable" else "keys, see below"
    if value.get("type") == "array":
        return "list of " + (_type(value["items"]) if "items" in value else "values")
    return str(value.get("type", "value")).replace("object", "mapping")


def _bounds(value: _Schema) -> str:
    parts = [value, *value.get("anyOf", ())]
    found = [text.format(f"{part[name]:,}") for part in parts for name, text in _BOUNDS.items() if name in part]
    return "".join(f", {bound}" for bound in found)


def _default(value: _Schema, is_required: bool) -> str:
    if is_required:
        return "required"
    default = value.get("default")
    if default is None or isinstance(default, dict):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def configuration() -> str:
    """Return the page."""
    rows = (
        (f"`{key}`", _type(value) + _bounds(value), _default(value, is_required), value.get("description", ""))
        for key, value, is_required in keys()
    )
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)
