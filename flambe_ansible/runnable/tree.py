"""YAML text as a tree whose nodes know which characters they are.

Built from PyYAML's own events, so that an alias stays where it stands, nothing is expanded or constructed, and a node's
end is where its text ends (PyYAML's marks of block collections run on into the comments that follow). The Python
parser is used on purpose: it refuses the tabs that flambé's own parser refuses, where libyaml reads over them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml

from flambe_ansible.config.syntax import describe

MAX_DEPTH = 100


class Kind(StrEnum):
    """What a node is."""

    SCALAR = "scalar"
    SEQUENCE = "sequence"
    MAPPING = "mapping"
    ALIAS = "alias"


@dataclass(kw_only=True, eq=False)
class Node:
    """One node and its place in the text.

    Attributes:
        kind: What it is.
        start: Its first character's index in the text; a tag and an anchor belong to it.
        end: The index after its last character; equal to start where nothing is written.
        line: Its line, from 1.
        column: Its column, from 1.
        tag: Its tag as written (``!g``, ``tag:yaml.org,2002:str`` for ``!!str``), or "".
        anchor: Its anchor's name, or "".
        value: A scalar's text, or the name that an alias names.
        plain: Whether a scalar stands without quotes.
        flow: Whether a collection stands in brackets.
        items: A sequence's nodes.
        pairs: A mapping's keys and values, in order, doubles included.
        target: The node that an alias stands for.
    """

    kind: Kind
    start: int
    end: int
    line: int
    column: int
    tag: str = ""
    anchor: str = ""
    value: str = ""
    plain: bool = False
    flow: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    target: Node | None = None

    def get(self, key: str) -> tuple[Node, Node] | None:
        """Return the pair with this key, or None."""
        return next((pair for pair in self.pairs if pair[0].kind is Kind.SCALAR and pair[0].value == key), None)

    def resolved(self) -> Node:
        """Return the node itself, or the one that an alias stands for."""
        return self.target if self.target else self

    def walk(self) -> Iterator[Node]:
        """Go over this node and all below it, in the text's order; aliases are not followed."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            below = [*node.items, *(one for pair in node.pairs for one in pair)]
            todo.extend(reversed(below))


class TreeError(ValueError):
    """The text is not YAML that can be read.

    Attributes:
        expected: What would be right, or "".
        line: The line, from 1; 0 where there is no place.
        column: The column, from 1.
    """

    def __init__(self, message: str, *, expected: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.expected = expected
        self.line = line
        self.column = column


def parse(text: str) -> list[Node]:
    """Read all documents of a text.

    Returns:
        The root of each document, in order; an empty document's root is a plain scalar without text.

    Raises:
        TreeError: The text is no YAML, is nested deeper than 100, or uses an anchor that is not there.
    """
    try:
        return list(_build(text))
    except yaml.MarkedYAMLError as error:
        message, expected, line, column = describe(error, text)
        raise TreeError(message, expected=expected, line=line, column=column) from error


_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|[0-9][0-9_]*|0x[0-9a-fA-F_]+)")
_FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}(?:(?:[Tt]|[ \t]+)\d{1,2}:\d\d:\d\d.*)?")
_TYPES = (("null", _NULL), ("boolean", _BOOLEAN), ("integer", _INTEGER), ("number", _FLOAT), ("date", _DATE))


def type_of(node: Node) -> str:
    """Say what a node's value is, by the rules of YAML 1.2, which flambé reads by (``no`` is a string there).

    Returns:
        ``string``, ``null``, ``boolean``, ``integer``, ``number``, ``date``, ``list``, ``mapping``, or the tag.
    """
    node = node.resolved()
    if node.tag and node.tag not in ("tag:yaml.org,2002:str", "!"):
        return node.tag
    if node.kind is Kind.SEQUENCE:
        return "list"
    if node.kind is Kind.MAPPING:
        return "mapping"
    if node.tag or not node.plain:
        return "string"
    return next((name for name, pattern in _TYPES if pattern.fullmatch(node.value)), "string")


def _build(text: str) -> Iterator[Node]:
    """Turn the events of all documents into trees."""
    open_nodes: list[Node] = []
    keys: dict[int, Node] = {}  # the key that waits for its value, by the mapping's identity
    anchors: dict[str, Node] = {}
    root: Node | None = None
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            anchors, root = {}, None
        elif isinstance(event, yaml.DocumentEndEvent) and root:
            yield root
        elif isinstance(event, yaml.CollectionEndEvent):
            _close(open_nodes.pop(), event)
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, text, anchors)
            if open_nodes:
                _attach(open_nodes[-1], node, keys)
            else:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append(node)
                if len(open_nodes) > MAX_DEPTH:
                    raise TreeError(f"nested deeper than {MAX_DEPTH}", line=node.line, column=node.column)


def _node(event: Any, text: str, anchors: dict[str, Node]) -> Node:
    """Make the node that an event begins."""
    start, end = event.start_mark.index, event.end_mark.index
    node = Node(
        kind=Kind.SCALAR, start=start, end=end, line=event.start_mark.line + 1, column=event.start_mark.column + 1
    )
    if isinstance(event, yaml.AliasEvent):
        name = event.anchor or ""
        node.kind, node.value, node.target = Kind.ALIAS, name, anchors.get(name)
        if node.target is None:
            raise TreeError(f"no anchor &{name} before this alias", line=node.line, column=node.column)
        return node
    node.tag, node.anchor = event.tag or "", event.anchor or ""
    if isinstance(event, yaml.ScalarEvent):
        node.value, node.plain = event.value, event.style is None
        if event.style in ("|", ">"):
            node.end = start + len(text[start:end].rstrip())
    else:
        node.kind = Kind.SEQUENCE if isinstance(event, yaml.SequenceStartEvent) else Kind.MAPPING
        node.flow = bool(event.flow_style)
    if node.anchor:
        anchors[node.anchor] = node
    return node


def _attach(parent: Node, node: Node, keys: dict[int, Node]) -> None:
    """Put a node into the collection that is open."""
    if parent.kind is Kind.SEQUENCE:
        parent.items.append(node)
    elif key := keys.pop(id(parent), None):
        parent.pairs.append((key, node))
    else:
        keys[id(parent)] = node


def _close(node: Node, event: Any) -> None:
    """Set a collection's end: its bracket, or the end of the last node in it."""
    if node.flow:
        node.end = event.end_mark.index
        return
    below = [*node.items, *(one for pair in node.pairs for one in pair)]
    node.end = max([node.end, *(one.end for one in below)])
