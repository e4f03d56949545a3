"""What YAML makes of single values, and how to say it to somebody who meant something else."""

from __future__ import annotations

import re

import yaml

from flambe_ansible.validation.schema import SHOWN, show

STANDARD = "tag:yaml.org,2002:"
TRUE = frozenset(("yes", "true", "on"))  # YAML 1.1's words, in lower case
FALSE = frozenset(("no", "false", "off"))
LEADING_ZERO = re.compile(r"[-+]?0+[1-9][0-9]*")
OTHER_BASE = re.compile(r"[-+]?0(b[01]+|x[0-9a-fA-F]+)")
LONGEST_NUMBER = 40  # characters; no field has a number that needs them


def parse_number(text: str) -> int | float | None:
    """Parse a number as YAML writes it, without underscores; None where it is none, or far too long to be meant."""
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
    """Tell whether a node is nothing: empty, ``~`` or ``null``."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{STANDARD}null"


def is_template(node: yaml.Node) -> bool:
    """Tell whether a node looks like ``{{ something }}``."""
    return isinstance(node, yaml.MappingNode) and bool(node.flow_style)


def as_boolean(node: yaml.Node) -> str:
    """Write the boolean that a node is."""
    return "true" if node.value.lower() in TRUE else "false"


def name_node(node: yaml.Node) -> str:
    """Name what a node is, as it was written."""
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
        return f"{node.value}, which YAML reads as nothing" if node.value else "nothing"
    if kind in ("int", "float"):
        return f"the number {show(node.value).strip(chr(34))}"
    return f"the text {show(node.value)}"


def describe_quoting(node: yaml.Node) -> str:
    """Say how to write a scalar, or a list that brackets made, so that it is text."""
    if isinstance(node, yaml.ScalarNode) and node.value and len(node.value) <= SHOWN:
        return f'it in quotes: "{node.value}"'
    if isinstance(node, yaml.CollectionNode) and node.flow_style:
        return "quotes around the whole value, for it begins with a bracket"
    return ""
