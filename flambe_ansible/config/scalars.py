"""How YAML reads scalar values, and messages for values that YAML reads differently than the user expects."""

from __future__ import annotations

import re

import yaml

from flambe_ansible.validation.schema import SHOWN, show

STANDARD = "tag:yaml.org,2002:"
TRUE = frozenset(("yes", "true", "on"))  # YAML 1.1's words, in lower case
FALSE = frozenset(("no", "false", "off"))
LEADING_ZERO = re.compile(r"[-+]?0+[1-9][0-9]*")
OTHER_BASE = re.compile(r"[-+]?0(b[01]+|x[0-9a-fA-F]+)")
LONGEST_NUMBER = 40  # characters; no valid field value is longer


def parse_number(text: str) -> int | float | None:
    """Parse a YAML number without underscores; return None if it is not a number or longer than 40 characters."""
    if len(text) > LONGEST_NUMBER:
        return None
    try:
        if OTHER_BASE.fullmatch(text):
            return int(text, 0)
        special = text.lower().replace(".inf", "inf").replace(".nan", "nan")
        return int(text) if text.lstrip("-+").isdigit() else float(special)
    except ValueError:
        return None


def is_null(node: yaml.Node) -> bool:
    """Return whether a node is empty, ``~`` or ``null``."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{STANDARD}null"


def is_template(node: yaml.Node) -> bool:
    """Return whether a node looks like ``{{ something }}``."""
    return isinstance(node, yaml.MappingNode) and bool(node.flow_style)


def as_boolean(node: yaml.Node) -> str:
    """Return the boolean value of a node as ``true`` or ``false``."""
    return "true" if node.value.lower() in TRUE else "false"


def name_node(node: yaml.Node) -> str:
    """Describe a node's value for a message."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    kind = node.tag.removeprefix(STANDARD)
    if kind == "bool":
        return (
            f"{node.value}, which YAML reads as {as_boolean(node)}"
            if as_boolean(node) != node.value.lower()
            else f"the boolean {node.value}"
        )
    if kind == "null":
        return f"{node.value}, which YAML reads as an empty value" if node.value else "empty"
    if kind in ("int", "float"):
        return f"the number {show(node.value).strip(chr(34))}"
    return f"the text {show(node.value)}"


def describe_quoting(node: yaml.Node) -> str:
    """Describe how to quote a value so that YAML reads it as text."""
    if isinstance(node, yaml.ScalarNode) and node.value and len(node.value) <= SHOWN:
        return f'the value in quotes: "{node.value}"'
    if isinstance(node, yaml.CollectionNode) and node.flow_style:
        return "quotes around the whole value, because it starts with a bracket"
    return ""
