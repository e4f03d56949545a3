"""The types that describe the fields of clusters."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

SHOWN = 60  # a message shows at most this many characters of a wrong value


class Kind(Enum):
    """The type of a field's value."""

    STRING = "text"
    INTEGER = "whole number"
    NUMBER = "number"
    BOOLEAN = "true or false"
    PATH = "path"
    COMMANDS = "list of commands"
    TAGS = "mapping of text to text"
    ADDRESS = "address, or list of two"
    ADDRESSES = "list of addresses"
    PACKAGES = "list of requirements and paths"
    AMOUNTS = "mapping of text to numbers"
    OPTIONS = "text, or a mapping of options"
    HOST_KEYS = "mapping of text to text or lists of text"
    ANY = "plain data"


class Change(StrEnum):
    """The effect of changing a field of a running cluster."""

    IN_PLACE = "in place"  # the next launch updates all hosts
    NEW_HOSTS = "new hosts only"  # existing hosts are unchanged
    OTHER_CLUSTER = "another cluster"  # existing hosts are no longer found


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """What is wrong with one value."""

    message: str  # a sentence without its subject (the field's name): ``is 0``
    expected: str = ""  # "" means the field's own ``expected``
    suggestion: str = ""  # what was probably meant
    path: tuple[str | int, ...] = ()  # the field's name, then keys and indices inside its value
    at_key: bool = False  # whether it is about the key at ``path`` instead of the value


Rule = Callable[[Any], list[Flaw]]


def accept(_value: Any) -> list[Flaw]:
    """Accept every value."""
    return []


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a cluster."""

    name: str  # in YAML and in Python
    kind: Kind = Kind.STRING
    expected: str  # a description of valid values
    doc: str  # the meaning, in one or two sentences
    change: Change = Change.IN_PLACE  # the effect of changing the field of a running cluster
    change_note: str = ""
    required: bool = False
    default: Any = None  # None if it is determined at run time
    default_note: str = ""  # how it is determined then
    rule: Rule = accept  # returns the flaws of a value of the right type
    options: tuple[Field, ...] = ()  # the keys of a mapping (``Kind.OPTIONS``)

    @property
    def nullable(self) -> bool:
        """Whether null is allowed: the field is optional and its default is None."""
        return not self.required and self.default is None


@dataclass(frozen=True, kw_only=True)
class CrossRule:
    """A rule about several fields; it runs only if all fields it needs are set, and none that it reads is invalid."""

    needs: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], list[Flaw]]
    reads: tuple[str, ...] = ()  # besides those that it needs


@dataclass(frozen=True, kw_only=True)
class Schema:
    """All fields of one class of clusters."""

    tag: str  # in YAML
    fields: tuple[Field, ...]  # in the order of the documentation
    cross_rules: tuple[CrossRule, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)  # other clusters' fields, with the reason
    instead: Mapping[str, str] = field(default_factory=dict)  # required fields, with the field that replaces each

    @property
    def by_name(self) -> dict[str, Field]:
        """The fields by their names."""
        return {one.name: one for one in self.fields}


def show(value: Any) -> str:
    """Format a value for a message: on one line, quoted if it is text, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return clean(text if len(text) <= SHOWN else text[:SHOWN] + "...")


def clean(text: str) -> str:
    """Replace line breaks and control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return the most similar choice, or ""."""
    folded = {_fold(choice): choice for choice in choices}
    close = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def format_path(path: Iterable[str | int]) -> str:
    """Format a path for a message: ``setup_cmds[1]``, ``tags.company``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_").strip()
