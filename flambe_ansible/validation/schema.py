"""The words in which a cluster's fields are described."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

SHOWN = 60  # characters of a wrong value that a message repeats


class Kind(Enum):
    """What a field holds."""

    STRING = "text"
    INTEGER = "whole number"
    NUMBER = "number"
    BOOLEAN = "true or false"
    PATH = "path"
    COMMANDS = "list of commands"
    TAGS = "mapping of text to text"
    ADDRESS = "address, or list of two"
    ADDRESSES = "list of addresses"
    HOST_KEYS = "mapping of text to text or lists of text"
    ANY = "plain data"


class Change(StrEnum):
    """What changing a field means for a cluster that lives."""

    IN_PLACE = "in place"  # the next launch brings every host to it
    NEW_HOSTS = "new hosts only"  # hosts that exist stay as they are
    OTHER_CLUSTER = "another cluster"  # the hosts that exist are no longer found


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """What is wrong with one value.

    Attributes:
        message: What is wrong, to be read after the field's name: ``is 0``.
        expected: What would be right; "" is what the field always expects.
        suggestion: What was probably meant, or "".
        path: Where it is: the field's name, then keys and indices inside its value.
        at_key: Whether it is about the key at ``path``, not about its value.
    """

    message: str
    expected: str = ""
    suggestion: str = ""
    path: tuple[str | int, ...] = ()
    at_key: bool = False


Rule = Callable[[Any], list[Flaw]]


def accept(_value: Any) -> list[Flaw]:
    """Be the rule that finds nothing wrong."""
    return []


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a cluster.

    Attributes:
        name: Its name in YAML and in Python.
        kind: What it holds.
        expected: What a right value is, in words.
        doc: What it means, one sentence.
        change: What changing it means for a cluster that lives.
        change_note: More about that, or "".
        required: Whether it must be given.
        default: What holds when it is not given; None also where something else decides.
        default_note: What None means as a default, or "".
        rule: Finds what is wrong with a value of the right kind.
    """

    name: str
    kind: Kind
    expected: str
    doc: str
    change: Change
    change_note: str = ""
    required: bool = False
    default: Any = None
    default_note: str = ""
    rule: Rule = accept

    @property
    def nullable(self) -> bool:
        """Whether no value is a value: optional, and None by default."""
        return not self.required and self.default is None


@dataclass(frozen=True, kw_only=True)
class CrossRule:
    """A rule about several fields; it is asked only when each of them is right by itself."""

    needs: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], list[Flaw]]


@dataclass(frozen=True, kw_only=True)
class Schema:
    """All fields of one class of clusters.

    Attributes:
        tag: Its YAML tag.
        fields: Its fields, in the order of the documentation.
        cross_rules: What no single field can tell.
        refused: Fields that other clusters have and this one has not, with the reason.
    """

    tag: str
    fields: tuple[Field, ...]
    cross_rules: tuple[CrossRule, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, Field]:
        """The fields by their names."""
        return {one.name: one for one in self.fields}


def show(value: Any) -> str:
    """Write a value as a message repeats it: on one line, quoted if text, cut if long."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return clean(text if len(text) <= SHOWN else text[:SHOWN] + "...")


def clean(text: str) -> str:
    """Keep a text on one line, and a terminal's control sequences out of it."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def suggest(word: str, choices: Iterable[str]) -> str:
    """Find the choice that was probably meant, or ""."""
    folded = {_fold(choice): choice for choice in choices}
    close = difflib.get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def format_path(path: Iterable[str | int]) -> str:
    """Write a path as it stands in messages: ``setup_cmds[1]``, ``tags.company``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_").strip()
