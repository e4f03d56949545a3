"""Read YAML text into nodes that have positions. Limits on size and depth are checked first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flambe_ansible.config.syntax import describe
from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.validation.missing import find_neighbour

EXPERIMENT = "!Experiment"  # the tag of flambé's own experiments
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20  # nested collections; the C composer recurses and crashes the process when it is too deep
MAX_NODES = 10_000  # values, with every alias expanded

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loader(_Loader):  # type: ignore[misc]  # the base class is chosen at run time
    """The safe loader, except that dates and ``=`` are text and ``1e-3`` is a number."""


def _make_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    dropped = {f"tag:yaml.org,2002:{name}" for name in ("timestamp", "value", "float")}
    kept = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in dropped]
        for first, resolvers in _Loader.yaml_implicit_resolvers.items()
    }
    exponent, digits = r"[eE][-+]?[0-9]+", r"[0-9][0-9_]*"
    forms = (
        rf"[-+]?(?:{digits}\.[0-9_]*|\.{digits})(?:{exponent})?",
        rf"[-+]?{digits}{exponent}",
        rf"[-+]?{digits}(?::[0-5]?[0-9])+\.[0-9_]*",
        r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    )
    pattern = re.compile(f"^(?:{'|'.join(forms)})$")
    for first in "-+0123456789.":
        kept.setdefault(first, []).append(("tag:yaml.org,2002:float", pattern))
    return kept


Loader.yaml_implicit_resolvers = _make_resolvers()


@dataclass(frozen=True, order=True)
class Position:
    """A position in a file; lines and columns count from 1."""

    line: int
    column: int

    @classmethod
    def of(cls, node: yaml.Node | yaml.Event) -> Position:
        """Return the position of a node's first character."""
        assert node.start_mark is not None  # noqa: S101 - every parsed node has one
        return cls(node.start_mark.line + 1, node.start_mark.column + 1)


def read_text(path: Path, *, shown: str) -> str:
    """Read a configuration file (``shown`` in messages): at most 1 MiB of UTF-8 without control characters."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        meant = find_neighbour(path, lambda one: one.suffix in (".yaml", ".yml"))
        raise _refuse(shown, "no such file", suggestion=meant) from None
    except IsADirectoryError:
        raise _refuse(shown, "this is a folder", expected="a cluster configuration (YAML file)") from None
    except (OSError, ValueError) as error:
        raise _refuse(shown, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_BYTES:
        raise _refuse(shown, "the file is larger than 1 MiB", expected="a cluster configuration (YAML file)")
    return _decode(content, shown=shown)


def _decode(content: bytes, *, shown: str) -> str:
    """Decode UTF-8 text and refuse characters that YAML forbids."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refuse(shown, "the file is encoded as UTF-16", expected="UTF-8", position=Position(1, 1))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = _locate(content[: error.start].decode("utf-8-sig", errors="replace"))
        message = f"the byte 0x{content[error.start]:02x} is not valid UTF-8"
        raise _refuse(shown, message, expected="UTF-8 text", position=position) from error
    bad = _FORBIDDEN.search(text)
    if bad:
        name = "a NUL character" if bad.group() == "\0" else f"the control character U+{ord(bad.group()):04X}"
        raise _refuse(shown, name, expected="text without control characters", position=_locate(text[: bad.start()]))
    return text


def compose(text: str, *, shown: str) -> list[yaml.Node]:
    """Parse a YAML text into the root nodes of its documents, without empty documents."""
    try:
        _scan(text, Loader, shown=shown)
        nodes = list(yaml.compose_all(text, Loader))
    except yaml.YAMLError as error:
        if "nesting depth" in str(error):  # newer libyaml has a lower limit; report this one, with its position
            _scan(text, yaml.SafeLoader, shown=shown)
        message, expected, line, column = describe(error, text)
        raise _refuse(shown, message, expected=expected, position=Position(line, column)) from error
    for node in nodes:
        _measure(node, {}, shown=shown)
    return [node for node in nodes if not _is_nothing(node)]


def _scan(text: str, loader: Any, *, shown: str) -> None:
    """Check the limits on the parser's events, which needs no recursion."""
    depth = count = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        count += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH or count > MAX_NODES:
            what = f"more than {MAX_DEPTH} nested levels" if depth > MAX_DEPTH else f"more than {MAX_NODES} values"
            raise _refuse(shown, f"the file has {what}", position=Position.of(event))


def _measure(node: yaml.Node, seen: dict[int, tuple[int, int] | None], *, shown: str) -> tuple[int, int]:
    """Count the values and levels of a node with its aliases expanded, and check the limits."""
    key = id(node)
    if key in seen:
        measured = seen[key]
        if measured is None:
            raise _refuse(shown, "an alias refers to a value that contains the alias", position=Position.of(node))
        return measured
    seen[key] = None
    size, depth = 1, 1
    for child in _children(node):
        child_size, child_depth = _measure(child, seen, shown=shown)
        size, depth = size + child_size, max(depth, child_depth + 1)
    if size > MAX_NODES or depth > MAX_DEPTH:
        what = f"{MAX_NODES} values" if size > MAX_NODES else f"{MAX_DEPTH} nested levels"
        raise _refuse(shown, f"with aliases expanded, this value has more than {what}", position=Position.of(node))
    seen[key] = (size, depth)
    return size, depth


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null" and not node.value


def _locate(before: str) -> Position:
    """Return the position after a text."""
    lines = _LINE_BREAK.split(before)
    return Position(len(lines), len(lines[-1]) + 1)


def _refuse(
    shown: str, message: str, *, expected: str = "", suggestion: str = "", position: Position | None = None
) -> ClusterConfigurationError:
    line, column = (position.line, position.column) if position else (0, 0)
    problem = Problem(file=shown, line=line, column=column, message=message, expected=expected, suggestion=suggestion)
    return ClusterConfigurationError.of([problem])
