"""Reading YAML without duplicate keys, of which PyYAML silently takes the last."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

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


class YamlDocument(NamedTuple):
    """A YAML document.

    Attributes:
        content: Its content.
        lines: For each list that is the value of a key of the document: the lines, from 1, in which its entries begin.
    """

    content: Any
    lines: Mapping[str, list[int]]


def read_yaml(text: str) -> YamlDocument:
    """Return a YAML document.

    Raises:
        yaml.YAMLError: The text is not YAML, or a key is there twice.
        RecursionError: The document is nested too deeply.
    """
    loader = _Loader(text)
    try:
        document = loader.get_single_node()
        content = None if document is None else loader.construct_document(document)
    finally:
        loader.dispose()
    entries = document.value if isinstance(document, yaml.MappingNode) else []
    # A key can be a list, too.
    lists = {str(name.value): node.value for name, node in entries if isinstance(node, yaml.SequenceNode)}
    return YamlDocument(content, {name: [each.start_mark.line + 1 for each in node] for name, node in lists.items()})
