"""Parse YAML text into a tree whose nodes have exact character ranges.

The tree is built from PyYAML's events: aliases are kept, nothing is constructed, and a node ends where its text ends
(PyYAML's end marks of block collections include the comments that follow). It uses PyYAML's Python parser because that
one refuses the same tabs as flambé's parser; libyaml accepts them.
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
    """The kind of a node."""

    SCALAR = "scalar"
    SEQUENCE = "sequence"
    MAPPING = "mapping"
    ALIAS = "alias"


@dataclass(kw_only=True, eq=False)
class Node:
    """A node and its range in the text."""

    kind: Kind
    start: int  # the index of the first character, including tag and anchor
    end: int  # the index after the last character; equal to start for an empty node
    line: int  # from 1
    column: int  # from 1
    tag: str = ""  # as written (``!g``, ``tag:yaml.org,2002:str`` for ``!!str``)
    anchor: str = ""
    value: str = ""  # the text of a scalar, or the anchor that an alias refers to
    plain: bool = False  # whether a scalar has no quotes
    flow: bool = False  # whether a collection is written in brackets
    items: list[Node] = field(default_factory=list)  # of a sequence
    pairs: list[tuple[Node, Node]] = field(default_factory=list)  # of a mapping, in order, including duplicates
    target: Node | None = None  # of an alias

    def get(self, key: str) -> tuple[Node, Node] | None:
        """Return the pair with this key, or None."""
        return next((pair for pair in self.pairs if pair[0].kind is Kind.SCALAR and pair[0].value == key), None)

    def resolved(self) -> Node:
        """Return the node, or the target of an alias."""
        return self.target if self.target else self

    def walk(self) -> Iterator[Node]:
        """Yield this node and all nodes below it, in text order; aliases are not followed."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            below = [*node.items, *(one for pair in node.pairs for one in pair)]
            todo.extend(reversed(below))


class TreeError(ValueError):
    """The text is not valid YAML; the line is 0 if it is unknown."""

    def __init__(self, message: str, *, expected: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.expected = expected
        self.line = line
        self.column = column


def parse(text: str) -> list[Node]:
    """Parse all documents of a text; an empty document's root is a plain scalar without text."""
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
    """Return the type of a node's value by the rules of YAML 1.2, as flambé does (``no`` is a string).

    It is ``string``, ``null``, ``boolean``, ``integer``, ``number``, ``date``, ``list``, ``mapping``, or the tag.
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
    """Build the trees of all documents from the parser's events."""
    open_nodes: list[Node] = []
    keys: dict[int, Node] = {}  # the keys without a value so far, by the id of their mapping
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
                    raise TreeError(f"nested deeper than {MAX_DEPTH} levels", line=node.line, column=node.column)


def _node(event: Any, text: str, anchors: dict[str, Node]) -> Node:
    """Create the node for an event."""
    mark, end = event.start_mark, event.end_mark.index
    node = Node(kind=Kind.SCALAR, start=mark.index, end=end, line=mark.line + 1, column=mark.column + 1)
    if isinstance(event, yaml.AliasEvent):
        name = event.anchor or ""
        node.kind, node.value, node.target = Kind.ALIAS, name, anchors.get(name)
        if node.target is None:
            raise TreeError(f"an alias to an unknown anchor &{name}", line=node.line, column=node.column)
        return node
    node.tag, node.anchor = event.tag or "", event.anchor or ""
    if isinstance(event, yaml.ScalarEvent):
        node.value, node.plain = event.value, event.style is None
        if event.style in ("|", ">"):
            node.end = mark.index + len(text[mark.index : end].rstrip())
    else:
        node.kind = Kind.SEQUENCE if isinstance(event, yaml.SequenceStartEvent) else Kind.MAPPING
        node.flow = bool(event.flow_style)
    if node.anchor:
        anchors[node.anchor] = node
    return node


def _attach(parent: Node, node: Node, keys: dict[int, Node]) -> None:
    """Add a node to the innermost open collection."""
    if parent.kind is Kind.SEQUENCE:
        parent.items.append(node)
    elif key := keys.pop(id(parent), None):
        parent.pairs.append((key, node))
    else:
        keys[id(parent)] = node


def _close(node: Node, event: Any) -> None:
    """Set the end of a collection: its closing bracket, or the end of its last node."""
    if node.flow:
        node.end = event.end_mark.index
        return
    below = [*node.items, *(one for pair in node.pairs for one in pair)]
    node.end = max([node.end, *(one.end for one in below)])
