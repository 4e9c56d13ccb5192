"""Messages for an invalid configuration: the entry, what is wrong, and the remedy, in the terms of a YAML file."""

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# Messages in terms of YAML instead of pydantic's, which name Python types.
_YAML_MESSAGES = {
    "tuple_type": "must be a list",
    "too_short": "must have at least one entry",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
}


def validation_messages(error: ValidationError, source: str, specs: Mapping[str, type[BaseModel]]) -> str:
    """Return the messages of a validation error, one per line.

    Args:
        error: The error that pydantic raised.
        source: The name of the file in the messages.
        specs: The spec of each nested entry by its key, and of the whole file by the empty string.
    """
    # Pydantic also reports a list as too short if its entries are invalid, which have messages of their own.
    details = [detail for detail in error.errors() if detail["type"] != "too_short" or not detail["input"]]
    return "\n".join(f"{source}: {_message(detail, specs)}" for detail in details)


def _message(detail: ErrorDetails, specs: Mapping[str, type[BaseModel]]) -> str:
    """Return one error as `entry: what is wrong; remedy.`"""
    location = detail["loc"]
    entry = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if detail["type"] == "extra_forbidden":
        parents = [part for part in location[:-1] if isinstance(part, str)]
        spec = next((specs[part] for part in reversed(["", *parents]) if part in specs), None)
        keys = [name for name in spec.model_fields if name != "origin"] if spec else []
        return f"{entry}: there is no such key; {_suggest(str(location[-1]), keys)}"
    if detail["type"] == "missing":
        return f"{entry}: this key is missing; add it."
    message = _YAML_MESSAGES.get(detail["type"], detail["msg"].removeprefix("Value error, ").rstrip("."))
    message = message[0].lower() + message[1:]
    return f"{entry}: {message}." if entry else f"{message}."


def _suggest(key: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(key, keys, n=1)
    return f"did you mean {close[0]}?" if close else f"the keys here are {', '.join(keys)}."
