"""Change single values in YAML text; all other characters are unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flambe_ansible.runnable.tree import Kind, Node, parse, type_of

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@dataclass(frozen=True)
class Tagged:
    """A mapping that is written with a tag, such as ``!RemoteEnvironment``."""

    tag: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Edit:
    """A replacement of the characters from start to end; an insertion if start equals end."""

    start: int
    end: int
    text: str


class EditError(ValueError):
    """The notation of the value ``node`` cannot be changed in place."""

    def __init__(self, message: str, node: Node) -> None:
        super().__init__(message)
        self.node = node


def apply(text: str, edits: Sequence[Edit]) -> str:
    """Apply edits that do not overlap; insertions at the same position keep their order."""
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def set_values(text: str, mapping: Node, values: Mapping[str, Any]) -> list[Edit]:
    """Return the edits that set keys of a mapping; new keys are inserted before the first key.

    A scalar without text (``!ext.Runnable`` alone) becomes a mapping. The values are plain data or ``Tagged``.
    """
    edits: list[Edit] = []
    missing: dict[str, Any] = {}
    for key, value in values.items():
        if pair := mapping.get(key):
            edits += replace_value(text, *pair, value)
        else:
            missing[key] = value
    if missing:
        edits.append(_insert(text, mapping, missing))
    return edits


def replace_value(text: str, key: Node, value: Node, new: Any) -> list[Edit]:
    """Return the edits that replace one value of a mapping; the new value keeps the anchor."""
    written = f"&{value.anchor} {write(new)}" if value.anchor else write(new)
    if value.kind is Kind.SEQUENCE and not value.flow and value.column <= key.column:
        # The list is not indented below its key, so the new value must be on the key's line.
        colon = text.index(":", key.end) + 1
        return [Edit(colon, colon, f" {written}"), Edit(value.start, value.end, "")]
    gap = "" if text[value.start - 1].isspace() else " "
    return [Edit(value.start, value.end, gap + written)]


def write(value: Any) -> str:
    """Write plain data as YAML on one line; ``TypeError`` if it is not plain data."""
    match value:
        case _ if callable(as_tagged := getattr(value, "as_tagged", None)):
            return write(as_tagged())
        case Tagged():
            return f"{value.tag} {write(dict(value.values))}"
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return yaml.safe_dump(value).split("\n")[0]
        case str() | Path():
            return _write_text(str(value))
        case Mapping():
            return "{" + ", ".join(f"{_write_text(str(name))}: {write(one)}" for name, one in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(write(one) for one in value) + "]"
    raise TypeError(f"cannot be written as YAML: {type(value).__name__}")


def meaning(node: Node) -> Any:
    """Return a tree's content without its notation, for comparisons."""
    if node.kind is Kind.ALIAS:
        return ("alias", node.value)
    kind = type_of(node)
    if node.kind is Kind.SEQUENCE:
        return (kind, node.anchor, [meaning(one) for one in node.items])
    if node.kind is Kind.MAPPING:
        return (kind, node.anchor, [(meaning(key), meaning(value)) for key, value in node.pairs])
    return (kind, node.anchor, node.value)


def expect(node: Node, values: Mapping[str, Any], *, below: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the content of a mapping after ``set_values``; ``below`` are the values set in nested mappings, by key."""
    changed = {name: meaning(parse(write(value))[0]) for name, value in values.items()}
    pairs = []
    for key, value in node.pairs:
        now = meaning(value)
        if key.value in changed:
            kind, _anchor, *content = changed.pop(key.value)
            now = (kind, value.anchor, *content)
        elif key.value in below:
            now = expect(value, below[key.value], below={})
        pairs.append((meaning(key), now))
    added = [(("string", "", name), value) for name, value in changed.items()]
    tag = node.tag or "mapping"
    return (tag, node.anchor, added + pairs)


def _write_text(text: str) -> str:
    """Write a string, in double quotes if it could be read as another type."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    quoted: str = yaml.dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.removesuffix("\n")


def _insert(text: str, mapping: Node, values: Mapping[str, Any]) -> Edit:
    """Return the edit that inserts new keys before the first key of a mapping."""
    written = [f"{_write_text(key)}: {write(value)}" for key, value in values.items()]
    if mapping.kind is Kind.SCALAR and not mapping.value:
        gap = " " if mapping.end > mapping.start else ""
        return Edit(mapping.end, mapping.end, gap + "{" + ", ".join(written) + "}")
    if mapping.kind is not Kind.MAPPING:
        raise EditError("keys can only be added to a mapping", mapping)
    if mapping.flow:
        at = mapping.pairs[0][0].start if mapping.pairs else mapping.end - 1
        return Edit(at, at, ", ".join(written) + (", " if mapping.pairs else ""))
    first = mapping.pairs[0][0]
    indent = text[_line_start(text, first.start) : first.start]
    if indent.strip(" \ufeff"):
        raise EditError("cannot add a key here; write the first key on a separate line, without ?", first)
    at = _above_comments(text, _line_start(text, first.start), mapping.start)
    newline = "\r\n" if "\r\n" in text else "\n"
    return Edit(at, at, "".join(indent + line + newline for line in written))


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _above_comments(text: str, line: int, stop: int) -> int:
    """Return the start of the comments and blank lines above a line, so that they stay with the key below them."""
    while line > 0 and (above := _line_start(text, line - 1)) > stop:
        if (content := text[above:line].strip()) and not content.startswith("#"):
            break
        line = above
    return line
