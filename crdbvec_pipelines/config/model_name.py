"""A model with its settings as one text, such as `intfloat/e5-base-v2?dimensions=256`.

The settings of a model by name are written next to it, so two vector columns can use one model with different settings.
As one text, model and settings also fit into an option of the command line.
"""

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

PROVIDER_PREFIX = "litellm/"
"""The start of the name of a model that a provider offers by its API, as `litellm/cohere/embed-v4.0`."""

# Characters that need not be escaped to be read back, and that prompts contain.
_SAFE = " /:|,"


MODEL_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}]
}
"""A model in the JSON schema of the file."""


def model_text(value: object) -> object:
    """Return a model of the file, a name or a name with settings, as one text; other values as they are.

    Raises:
        ValueError: The settings do not belong to the name.
    """
    if not isinstance(value, Mapping):
        return value
    name, settings = value.get("name"), {key: part for key, part in value.items() if key != "name"}
    if not isinstance(name, str) or not all(isinstance(key, str) for key in settings):
        raise ValueError("must be a name, or {name: organization/model, <setting>: <value>}")
    if not is_named_model(name):
        raise ValueError(f"settings of the model wrapper {name} belong under models.settings.{name}")
    return join_model(name, settings)


def is_named_model(model: str) -> bool:
    """Return whether a model is given by the name of a repository or a folder, and not by that of a wrapper."""
    return "/" in model


def join_model(name: str, settings: Mapping[str, object]) -> str:
    """Return a model and its settings as one text."""
    pairs = [f"{key}={quote(_text(value), safe=_SAFE)}" for key, value in _flat(settings)]
    return f"{name}?{'&'.join(pairs)}" if pairs else name


def split_model(model: str) -> tuple[str, dict[str, object]]:
    """Return the name and the settings of a model that is written as one text."""
    name, _, query = model.partition("?")
    settings: dict[str, object] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        outer, _, inner = key.partition(".")
        if inner:
            group = settings.setdefault(outer, {})
            if isinstance(group, dict):
                group[inner] = _value(text)
        else:
            settings[outer] = _value(text)
    return name, settings


def _flat(settings: Mapping[str, object]) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for key in sorted(settings):
        value = settings[key]
        if isinstance(value, Mapping):
            pairs += [(f"{key}.{inner}", value[inner]) for inner in sorted(value)]
        else:
            pairs.append((key, value))
    return pairs


def _text(value: object) -> str:
    """Return a value so that `_value` reads it back."""
    return value if isinstance(value, str) and _value(value) == value else json.dumps(value, default=str)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
