"""What is wrong with a configuration, in sentences that name the entry and the remedy rather than Python's types."""

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

# Pydantic's words for Python's types, in those of a YAML file.
_IN_YAML = {
    "tuple_type": "must be a list",
    "too_short": "must have at least one entry",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
}


def sentences(error: ValidationError, source: str, specs: Mapping[str, type[BaseModel]]) -> str:
    """The faults of a validation, one a line.

    Args:
        error: what pydantic found.
        source: what the sentences call the file.
        specs: the spec of each entry by the key it stands under, and of the whole under the empty key.
    """
    # A list counts as too short where its entries are at fault, which is told already.
    faults = [fault for fault in error.errors() if fault["type"] != "too_short" or not fault["input"]]
    return "\n".join(f"{source}: {_sentence(fault, specs)}" for fault in faults)


def _sentence(fault: ErrorDetails, specs: Mapping[str, type[BaseModel]]) -> str:
    """One fault as `entry: what is wrong; remedy.`"""
    location = fault["loc"]
    entry = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if fault["type"] == "extra_forbidden":
        parents = [part for part in location[:-1] if isinstance(part, str)]
        spec = specs.get(parents[-1] if parents else "")
        known = [name for name in spec.model_fields if name != "origin"] if spec else []
        return f"{entry}: there is no such key; {_suggest(str(location[-1]), known)}"
    if fault["type"] == "missing":
        return f"{entry}: this key is missing; add it."
    message = _IN_YAML.get(fault["type"], fault["msg"].removeprefix("Value error, ").rstrip("."))
    message = message[0].lower() + message[1:]
    return f"{entry}: {message}." if entry else f"{message}."


def _suggest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"the keys here are {', '.join(known)}."
