"""Read the values of fields from YAML nodes, and collect the flaws with their positions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from flambe_ansible.config.document import Position
from flambe_ansible.config.plain import PlainError, read_plain
from flambe_ansible.config.scalars import (
    FALSE,
    LEADING_ZERO,
    STANDARD,
    TRUE,
    as_boolean,
    describe_quoting,
    is_null,
    is_template,
    name_node,
    parse_number,
)
from flambe_ansible.validation.schema import Field, Flaw, Kind, show, suggest

_PLAIN_TAGS = frozenset(f"{STANDARD}{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge"))
_WITH_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(?:[GMTk]i?B?|gb|h|hours?|s|seconds?)?\s*", re.IGNORECASE)

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class PlacedFlaw:
    """A flaw and its position."""

    flaw: Flaw
    position: Position


@dataclass(frozen=True)
class Entry:
    """A key of a mapping with its value."""

    key: str
    key_node: yaml.Node
    value: yaml.Node


class Reader:
    """Reads the values of one document and records their flaws, and the positions of values and keys by path."""

    def __init__(self) -> None:
        self.flaws: list[PlacedFlaw] = []
        self.positions: dict[Path, Position] = {}
        self.key_positions: dict[Path, Position] = {}
        self._readers: dict[Kind, Callable[[yaml.Node, Field, Path], Any]] = {
            Kind.STRING: self._read_text,
            Kind.PATH: self._read_text,
            Kind.INTEGER: self._read_number,
            Kind.NUMBER: self._read_number,
            Kind.BOOLEAN: self._read_boolean,
            Kind.COMMANDS: self._read_commands,
            Kind.TAGS: self._read_tags,
            Kind.ADDRESS: self._read_texts,
            Kind.ADDRESSES: self._read_texts,
            Kind.HOST_KEYS: self._read_texts,
            Kind.PACKAGES: self._read_texts,
            Kind.AMOUNTS: self._read_amounts,
            Kind.OPTIONS: self._read_options,
            Kind.ANY: self._read_any,
        }

    def read_field(self, node: yaml.Node, field: Field) -> Any:
        """Read the value of a field; the result is meaningless if flaws were added."""
        path: Path = (field.name,)
        self.positions[path] = Position.of(node)
        if not self._has_plain_tag(node, path, field.expected):
            return None
        if is_null(node):
            if not field.nullable:
                self.note("has no value", node, path, expected=field.expected)
            return None
        return self._readers[field.kind](node, field, path)

    def read_entries(self, node: yaml.MappingNode, path: Path = ()) -> list[Entry]:
        """List a mapping's entries with merge keys resolved; a duplicate key is a flaw, and its first value is used."""
        entries: dict[str, Entry] = {}
        merged: list[yaml.Node] = []
        for key_node, value in node.value:
            if key_node.tag == f"{STANDARD}merge":
                merged.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
                continue
            key = self._read_key(key_node, path)
            if key is None:
                continue
            if key in entries:
                first = Position.of(entries[key].key_node)
                self.note(f"is set twice, first on line {first.line}", key_node, (*path, key), expected="each key once")
                continue
            entries[key] = Entry(key, key_node, value)
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                self.note(
                    "merges something that is not a mapping",
                    source,
                    (*path, "<<"),
                    expected="<<: *anchor, the anchor of a mapping",
                )
                continue
            for entry in self.read_entries(source, path):
                entries.setdefault(entry.key, entry)
        self.key_positions.update({(*path, key): Position.of(entry.key_node) for key, entry in entries.items()})
        return list(entries.values())

    def note(self, message: str, node: yaml.Node, path: Path, *, expected: str = "", suggestion: str = "") -> None:
        """Add a flaw at a node."""
        flaw = Flaw(message=message, expected=expected, suggestion=suggestion, path=path)
        placed = PlacedFlaw(flaw, Position.of(node))
        if placed not in self.flaws:  # a mapping that is merged twice is read twice
            self.flaws.append(placed)

    def _read_key(self, node: yaml.Node, path: Path) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            what = (
                "a template ({{ }}), and templates are not expanded"
                if is_template(node)
                else f"{name_node(node)} as a key"
            )
            self.note(f"has {what}", node, path or ("the cluster",), expected="a key that is text")
            return None
        if node.tag == f"{STANDARD}bool" and path:
            self.note(
                f"has the key {node.value}, which YAML reads as {as_boolean(node)}",
                node,
                path,
                expected=f'the key in quotes: "{node.value}"',
            )
            return None
        if is_null(node) and not node.value:
            self.note("has an empty key", node, path or ("the cluster",), expected="key: value")
            return None
        return str(node.value)

    def _read_text(self, node: yaml.Node, field: Field, path: Path) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{STANDARD}str":
            return str(node.value)
        expected = describe_quoting(node) or field.expected
        self.note(f"is {name_node(node)}", node, path, expected=expected)
        return None

    def _read_number(self, node: yaml.Node, field: Field, path: Path) -> int | float | None:
        kind = node.tag.removeprefix(STANDARD)
        if not isinstance(node, yaml.ScalarNode) or kind not in ("int", "float"):
            meant = _WITH_UNIT.fullmatch(node.value) if isinstance(node, yaml.ScalarNode) else None
            self.note(
                f"is {name_node(node)}", node, path, expected=field.expected, suggestion=meant.group(1) if meant else ""
            )
            return None
        text = node.value.replace("_", "")
        if ":" in text:
            self.note(f"is {node.value}, which YAML reads as a base 60 number", node, path, expected=field.expected)
            return None
        if LEADING_ZERO.fullmatch(text):
            message, meant = f"is {node.value}, which YAML reads as an octal number", text.lstrip("+0")
            self.note(message, node, path, expected=field.expected, suggestion=meant)
            return None
        value = parse_number(text)
        if value is None:
            self.note(f"is {show(node.value)}", node, path, expected=field.expected)
        return value

    def _read_boolean(self, node: yaml.Node, field: Field, path: Path) -> bool | None:
        word = node.value.lower() if isinstance(node, yaml.ScalarNode) else ""
        if node.tag == f"{STANDARD}bool" and word in TRUE | FALSE:
            return word in TRUE
        meant = "true" if word in TRUE | {"1", "y"} else "false" if word in FALSE | {"0", "n"} else ""
        suggestion = meant or suggest(word, ("true", "false"))
        expected = f"{field.expected}, without quotes"
        self.note(f"is {name_node(node)}", node, path, expected=expected, suggestion=suggestion)
        return None

    def _read_commands(self, node: yaml.Node, field: Field, path: Path) -> list[str] | None:
        if not isinstance(node, yaml.SequenceNode):
            one = isinstance(node, yaml.ScalarNode)
            expected = "a list: one command per line, each after a dash" if one else field.expected
            self.note("is text, not a list" if one else f"is {name_node(node)}", node, path, expected=expected)
            return None
        return [self._read_command(child, (*path, index)) for index, child in enumerate(node.value)]

    def _read_command(self, node: yaml.Node, path: Path) -> str:
        self.positions[path] = Position.of(node)
        if not self._has_plain_tag(node, path, "a command"):
            return "?"
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{STANDARD}str":
            return str(node.value)
        if isinstance(node, yaml.MappingNode) and not node.flow_style:
            expected = "quotes around the whole command, or | with the command on the next line"
            self.note("contains ': ', so YAML reads it as a mapping", node, path, expected=expected)
        elif is_null(node) and not node.value:
            self.note("is empty", node, path, expected="a command")
        else:
            self.note(f"is {name_node(node)}", node, path, expected=describe_quoting(node) or "a command")
        return "?"

    def _read_tags(self, node: yaml.Node, field: Field, path: Path) -> dict[str, str] | None:
        if not isinstance(node, yaml.MappingNode):
            self.note(f"is {name_node(node)}", node, path, expected=field.expected)
            return None
        tags = {}
        for entry in self.read_entries(node, path):
            tag_path = (*path, entry.key)
            self.positions[tag_path] = Position.of(entry.value)
            tags[entry.key] = self._read_tag(entry.value, tag_path)
        return tags

    def _read_tag(self, node: yaml.Node, path: Path) -> str:
        """Read a tag's value; numbers are kept as written, as AWS's tools do."""
        if not self._has_plain_tag(node, path, "text"):
            return ""
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(STANDARD) in ("str", "int", "float"):
            return str(node.value)
        if is_null(node) and not node.value:
            self.note("has no value", node, path, expected='text, or "" for an empty value')
        else:
            self.note(f"is {name_node(node)}", node, path, expected=describe_quoting(node) or "text")
        return ""

    def _read_texts(self, node: yaml.Node, field: Field, path: Path) -> Any:
        """Read text, or lists and mappings of text; the field's rule checks the structure."""
        self.positions[path] = Position.of(node)
        before = len(self.flaws)
        if not self._has_plain_tag(node, path, field.expected):
            return None
        if isinstance(node, yaml.SequenceNode):
            texts: Any = [self._read_texts(child, field, (*path, index)) for index, child in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            entries = self.read_entries(node, path)
            texts = {entry.key: self._read_texts(entry.value, field, (*path, entry.key)) for entry in entries}
        else:
            texts = self._read_text(node, field, path)
        return texts if len(self.flaws) == before else None

    def _read_amounts(self, node: yaml.Node, field: Field, path: Path) -> dict[str, Any] | None:
        if not isinstance(node, yaml.MappingNode):
            self.note(f"is {name_node(node)}", node, path, expected=field.expected)
            return None
        before = len(self.flaws)
        found = {}
        for entry in self.read_entries(node, path):
            self.positions[(*path, entry.key)] = Position.of(entry.value)
            found[entry.key] = self._read_number(entry.value, field, (*path, entry.key))
        return found if len(self.flaws) == before else None

    def _read_options(self, node: yaml.Node, field: Field, path: Path) -> Any:
        """Read text, or a mapping of the field's options; an unknown option is left to the check of the values."""
        if not isinstance(node, yaml.MappingNode):
            return self._read_text(node, field, path)
        known = {one.name: one for one in field.options}
        found: dict[str, Any] = {}
        before = len(self.flaws)
        for entry in self.read_entries(node, path):
            option, place = known.get(entry.key), (*path, entry.key)
            self.positions[place] = Position.of(entry.value)
            if option is None or is_null(entry.value) or not self._has_plain_tag(entry.value, place, option.expected):
                found[entry.key] = None
            else:
                found[entry.key] = self._readers[option.kind](entry.value, option, place)
        return found if len(self.flaws) == before else None

    def _read_any(self, node: yaml.Node, _field: Field, path: Path) -> Any:
        try:
            return read_plain(node)
        except PlainError as error:
            self.note(str(error), error.node, path, expected=error.expected)
            return None

    def _has_plain_tag(self, node: yaml.Node, path: Path, expected: str) -> bool:
        if node.tag in _PLAIN_TAGS:
            return True
        tag = node.tag.replace(STANDARD, "!!")
        self.note(f"has the YAML tag {show(tag).strip(chr(34))}, which is not allowed", node, path, expected=expected)
        return False
