"""The attributes of the component as JSON schema, for `dg check yaml` and the completion of editors.

It is the schema of crdbvec.yaml. References are replaced by what they refer to, because Dagster inserts the schema into
that of the component, and each number, boolean and choice may also be a template such as `{{ env.BATCH_SIZE }}`.
"""

from collections.abc import Mapping
from typing import Any

from crdbvec_pipelines.config import ProjectConfig

_TEMPLATE = {"pattern": r"\{\{.*\}\}"}
_SCALARS = ("integer", "number", "boolean")
# What a choice between a value and a template does not change.
_ANNOTATIONS = ("default", "description", "title")


def attribute_schemas() -> Mapping[str, dict[str, Any]]:
    """Return the JSON schema of each attribute by its name."""
    schema = ProjectConfig.model_json_schema()
    definitions = schema["$defs"]
    return {name: _inlined(each, definitions) for name, each in schema["properties"].items()}


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[str(node["$ref"]).rsplit("/", 1)[-1]]
        return _inlined({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    inlined = {key: value if key == "default" else _inlined(value, definitions) for key, value in node.items()}
    properties = inlined.get("properties")
    if isinstance(properties, dict):
        # The position of an entry, which no file contains.
        properties.pop("origin", None)
    return _or_template(inlined)


def _or_template(node: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a scalar that may also be a template; an error then names the violated bound."""
    if node.get("type") not in _SCALARS and "enum" not in node:
        return node
    value = {key: each for key, each in node.items() if key not in _ANNOTATIONS}
    is_template = {"type": "string", **_TEMPLATE}
    annotations = {key: node[key] for key in _ANNOTATIONS if key in node}
    return {**annotations, "if": is_template, "then": True, "else": value}
