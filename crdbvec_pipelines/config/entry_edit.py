"""Changing one key of an entry of `vectors` in the text of crdbvec.yaml, so that comments and layout stay.

The text is changed at the places that the YAML parser reports, and then read again: a change that would alter anything
but the key is not made.
"""

import copy
from typing import Any

import yaml

from crdbvec_pipelines.config.yaml_file import read_yaml

_VECTORS = "vectors"


class EntryNotEditable(Exception):
    """The text has a form in which the key cannot be changed alone, such as an alias of another entry."""


def set_key(text: str, position: int, key: str, value: Any) -> str:
    """Return the text with a key of an entry that is added at the end of the entry, or has another value.

    Args:
        text: The content of the file.
        position: The position of the entry in `vectors`.
        key: The key.
        value: The value; a mapping is written on one line.

    Raises:
        EntryNotEditable: The text has a form in which the key cannot be changed alone.
    """
    entry = _entry(text, position)
    for name, old in entry.value:
        if name.value == key:
            start, end = old.start_mark.index, _end(old, text)
            return _checked(text, text[:start] + flow_text(value) + text[end:], position, key, value)
    last = entry.value[-1][1]
    end = _end(last, text)
    written = f"{key}: {flow_text(value)}"
    if entry.flow_style:
        return _checked(text, f"{text[:end]}, {written}{text[end:]}", position, key, value)
    # After a comment on the last line.
    line_end = text.find("\n", end)
    end = len(text) if line_end < 0 else line_end
    indent = " " * entry.value[0][0].start_mark.column
    return _checked(text, f"{text[:end]}\n{indent}{written}{text[end:]}", position, key, value)


def remove_key(text: str, position: int, key: str) -> str:
    """Return the text without a key of an entry; the same text if the entry does not have it.

    Raises:
        EntryNotEditable: The text has a form in which the key cannot be removed alone.
    """
    entry = _entry(text, position)
    names = [name.value for name, _ in entry.value]
    if key not in names:
        return text
    number = names.index(key)
    if number == 0:
        raise EntryNotEditable
    start, end = _end(entry.value[number - 1][1], text), _end(entry.value[number][1], text)
    if not entry.flow_style:
        # A comment after the value before is on its line; one after the removed value belongs to it.
        line_start = text.rfind("\n", 0, entry.value[number][0].start_mark.index)
        line_end = text.find("\n", end)
        start, end = line_start, len(text) if line_end < 0 else line_end
    return _checked(text, text[:start] + text[end:], position, key, None)


def _entry(text: str, position: int) -> yaml.MappingNode:
    document = yaml.compose(text, Loader=yaml.SafeLoader)
    for name, node in document.value if isinstance(document, yaml.MappingNode) else ():
        if name.value == _VECTORS and isinstance(node, yaml.SequenceNode):
            entry = node.value[position]
            if isinstance(entry, yaml.MappingNode) and entry.value:
                return entry
    raise EntryNotEditable


def _end(node: yaml.Node, text: str) -> int:
    """Return where the text of a node ends. The parser reports the end of a block after the lines that follow it."""
    if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last, text)
    return (
        len(text[: node.end_mark.index].rstrip())
        if node.end_mark.index > node.start_mark.index
        else node.end_mark.index
    )


def flow_text(value: Any) -> str:
    """Return a value as YAML on one line."""
    written: str = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 30)
    return written.strip()[1:-1]


def _checked(before: str, after: str, position: int, key: str, value: Any) -> str:
    """Return the new text if nothing but the key has changed."""
    expected = copy.deepcopy(read_yaml(before).content)
    entry = dict(expected[_VECTORS][position])
    if value is None:
        entry.pop(key)
    else:
        entry[key] = value
    expected[_VECTORS][position] = entry
    try:
        content = read_yaml(after).content
    except yaml.YAMLError:
        raise EntryNotEditable from None
    if content != expected:
        raise EntryNotEditable
    return after
