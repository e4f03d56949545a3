"""Read nodes as plain data, for arguments of extension classes that have no field description."""

from __future__ import annotations

from typing import Any

import yaml

from flambe_ansible.config.scalars import STANDARD, TRUE, parse_number


class PlainError(ValueError):
    """A node is not plain data; ``expected`` is what would be."""

    def __init__(self, message: str, node: yaml.Node, *, expected: str) -> None:
        super().__init__(message)
        self.node = node
        self.expected = expected


def read_plain(node: yaml.Node) -> Any:
    """Read text, numbers, booleans, null, and lists and mappings of them."""
    kind = node.tag.removeprefix(STANDARD)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return {_read_key(key): read_plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [read_plain(child) for child in node.value]
    if not isinstance(node, yaml.ScalarNode) or kind not in ("str", "int", "float", "bool", "null"):
        raise PlainError(f"has the YAML tag {node.tag.replace(STANDARD, '!!')}", node, expected="plain data")
    if kind == "bool":
        return node.value.lower() in TRUE
    if kind == "null":
        return None
    if kind == "str":
        return str(node.value)
    number = parse_number(node.value.replace("_", ""))
    if number is None:
        raise PlainError(f"is {node.value}, which is not a valid number", node, expected="quotes around text")
    return number


def _read_key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag == f"{STANDARD}merge":
        raise PlainError("has a key that is not text", node, expected="key: value")
    return str(node.value)
