"""Reading YAML without duplicate keys, of which PyYAML silently takes the last."""

from collections.abc import Hashable
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """A safe loader that rejects a mapping with the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            # A merge key (`<<`) may be repeated, and its values may be overridden.
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    # The key is not quoted: a mapping can contain a secret as a key by mistake.
                    raise yaml.constructor.ConstructorError(
                        problem="a key of a mapping is there twice", problem_mark=key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str) -> Any:
    """Return the content of a YAML document.

    Raises:
        yaml.YAMLError: The text is not YAML, or a key is there twice.
        RecursionError: The document is nested too deeply.
    """
    return yaml.load(text, _Loader)  # noqa: S506


def lines_of_entries(text: str, key: str) -> list[int]:
    """Return the lines, from 1, in which the entries of a list begin, which is the value of a key of the document."""
    document = yaml.compose(text, _Loader)
    entries = document.value if isinstance(document, yaml.MappingNode) else []
    lists = [node for name, node in entries if name.value == key and isinstance(node, yaml.SequenceNode)]
    return [entry.start_mark.line + 1 for node in lists for entry in node.value]
