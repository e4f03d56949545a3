"""Read a cluster's file into a checked document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from flambe_ansible.config import kinds
from flambe_ansible.config.document import EXPERIMENT, Position, compose, read_text
from flambe_ansible.config.kinds import ClusterKind
from flambe_ansible.config.reading import Entry, PlacedFlaw, Reader
from flambe_ansible.config.scalars import STANDARD
from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.validation import Field, Flaw, Kind, Schema, find_flaws
from flambe_ansible.validation.check import as_problem, normalize
from flambe_ansible.validation.runtime_fields import is_local
from flambe_ansible.validation.schema import format_path, show, suggest


@dataclass(frozen=True, kw_only=True)
class ClusterDocument:
    """The checked content of a cluster's file."""

    file: str  # its name in messages
    tag: str
    values: Mapping[str, Any]  # the given fields; paths are absolute
    positions: Mapping[str, Position]  # by field: ``name``, ``tags.company``, ``setup_cmds[0]``
    start: Position  # of the cluster's tag
    extensions: Mapping[str, str] = field(default_factory=dict)  # module name to location
    extension_class: type | None = None  # None for the package's own clusters

    def locate(self, problem: Problem) -> Problem:
        """Add the position of a problem's field to the problem, or the position of the tag."""
        name = problem.field
        found = self.positions.get(name) or self.positions.get(name.split(".")[0].split("[")[0]) or self.start
        return replace(problem, file=self.file, line=found.line, column=found.column)


def read_cluster(path: str | Path, *, base: type) -> ClusterDocument:
    """Read and check a cluster's YAML file. Nothing is created. Relative paths in it start from its folder.

    An extension's cluster class must be derived from ``base``. ``ClusterConfigurationError`` holds all problems of the
    file, with their positions.
    """
    file, folder = str(path), Path(path).absolute().parent
    nodes = compose(read_text(Path(path), shown=file), shown=file)
    reader = Reader()
    extensions = _read_extensions(nodes, reader)
    tag, values, start, kind = "", {}, Position(1, 1), ClusterKind()
    if nodes:
        root = nodes[0] if extensions is None else nodes[1]
        tag, start = root.tag, Position.of(root)
        kind = _find_kind(root, reader, folder=folder, extensions=extensions or {}, base=base)
        values = _read_root(root, reader, folder=folder, kind=kind)
    else:
        _note(reader, "the file is empty", start, expected=f"{kinds.list_tags()}, followed by its fields")
    if reader.flaws:
        raise ClusterConfigurationError.of(_as_problems(reader.flaws, file=file))
    return ClusterDocument(
        file=file,
        tag=tag,
        values=values,
        positions={format_path(path): position for path, position in reader.positions.items()},
        start=start,
        extensions=extensions or {},
        extension_class=kind.extension_class,
    )


def read_class(path: str | Path, *, base: type) -> tuple[Schema, Any]:
    """Return the fields of the class that a file names, and the class if it is an extension's, else None.

    ``base`` is ``Cluster``, or a base class of it for other classes of extensions, too. The values in the file are not
    checked.
    ``ClusterConfigurationError`` is raised if the file, its extensions or its tag are wrong.
    """
    file, reader = str(path), Reader()
    nodes = compose(read_text(Path(path), shown=file), shown=file)
    extensions = _read_extensions(nodes, reader) or {}
    kind = ClusterKind()
    if nodes:
        kind = _find_kind(nodes[-1], reader, folder=Path(path).absolute().parent, extensions=extensions, base=base)
    else:
        _note(reader, "the file is empty", Position(1, 1), expected=kinds.list_tags())
    if reader.flaws or kind.schema is None:
        raise ClusterConfigurationError.of(_as_problems(reader.flaws, file=file))
    return kind.schema, kind.extension_class


def find_experiment(path: str | Path) -> str:
    """Return the tag of the experiment that a file describes, or ""; the file is not checked."""
    root = _read_last(path)
    return str(root.tag) if root is not None and _is_experiment(root) else ""


def _read_last(path: str | Path) -> yaml.Node | None:
    """Return the root node of a file's last document."""
    nodes = compose(read_text(Path(path), shown=str(path)), shown=str(path))
    return nodes[-1] if nodes else None


def count_factories(path: Path) -> int:
    """Return the number of factories in a cluster's file, which is not checked; 1 if it does not have the number.

    ``ClusterConfigurationError`` is raised if the file cannot be read.
    """
    root = _read_last(path)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else []:
        if key.value == "factories_num" and isinstance(value, yaml.ScalarNode) and value.value.isdecimal():
            return int(value.value)
        if key.value == "factories_ips" and isinstance(value, yaml.SequenceNode):
            return len(value.value)
    return 1


def _read_extensions(nodes: list[yaml.Node], reader: Reader) -> dict[str, str] | None:
    """Read the document of extensions, if there is one; any further document is a flaw."""
    first = nodes[0] if nodes else None
    if len(nodes) < 2 or first is None:
        return None
    is_extensions = isinstance(first, yaml.MappingNode) and first.tag == f"{STANDARD}map"
    surplus = nodes[2 if is_extensions else 1] if len(nodes) > (2 if is_extensions else 1) else None
    if surplus is not None:
        expected = "one cluster per file; only a document of extensions may come before it"
        _note(reader, "another document starts here", Position.of(surplus), expected=expected)
    if not isinstance(first, yaml.MappingNode) or not is_extensions:
        return None
    for entry in reader.read_entries(first):
        reader.positions[(entry.key,)] = Position.of(entry.value)
        if not isinstance(entry.value, yaml.ScalarNode) or entry.value.tag != f"{STANDARD}str":
            expected = "a folder, a git URL or a requirement, as text"
            reader.note("is not the location of an extension", entry.value, (entry.key,), expected=expected)
    return {str(key.value): str(value.value) for key, value in first.value}


def _find_kind(
    root: yaml.Node, reader: Reader, *, folder: Path, extensions: Mapping[str, str], base: type
) -> ClusterKind:
    """Find the kind of cluster that the tag names; a flaw is placed at the tag or at the extension."""
    if _is_experiment(root):
        message = f"{kinds.show_tag(root.tag)} is an experiment, not a cluster"
        kind = ClusterKind(flaw=Flaw(message=message, expected=kinds.list_tags()))
    else:
        kind = kinds.find_kind(root.tag, extensions, folder=folder, base=base)
    if kind.flaw:
        position = reader.positions.get((kind.flawed_extension,), Position.of(root))
        reader.flaws.append(PlacedFlaw(kind.flaw, position))
    return kind


def _is_experiment(root: yaml.Node) -> bool:
    """Return whether this is an experiment's file; its extension is not imported for this check."""
    if root.tag == EXPERIMENT:
        return True  # its pipeline may not be written yet
    if root.tag in kinds.SCHEMAS or not isinstance(root, yaml.MappingNode):
        return False
    return any(isinstance(key, yaml.ScalarNode) and key.value == "pipeline" for key, _ in root.value)


def _read_root(root: yaml.Node, reader: Reader, *, folder: Path, kind: ClusterKind) -> dict[str, Any]:
    """Read the cluster's fields and check them against the schema."""
    schema = kind.schema
    if not isinstance(root, yaml.MappingNode):
        if not kind.flaw:
            found, expected = _describe(root)
            _note(reader, f"{root.tag} is followed by {found}", Position.of(root), expected=expected)
        return {}
    if schema is None:
        return {}
    values, invalid = _read_fields(root, reader, schema)
    values = {name: _resolve(schema.by_name[name], value, folder) for name, value in values.items()}
    for flaw in find_flaws(schema, values, invalid=invalid):
        reader.flaws.append(PlacedFlaw(flaw, _find_position(reader, flaw)))
    if reader.flaws:
        return {}
    replaced = dict.fromkeys(name for name in schema.instead if name not in values and schema.by_name[name].required)
    return replaced | {name: normalize(schema.by_name[name], value) for name, value in values.items()}


def _read_fields(root: yaml.MappingNode, reader: Reader, schema: Schema) -> tuple[dict[str, Any], set[str]]:
    """Return the values, and the names of the fields without one; unknown and missing fields are flaws."""
    values: dict[str, Any] = {}
    invalid: set[str] = set()
    fields = schema.by_name
    entries = reader.read_entries(root)
    for entry in entries:
        if entry.key not in fields:
            _note_unknown(reader, entry, schema, given={one.key for one in entries})
            continue
        before = len(reader.flaws)
        values[entry.key] = reader.read_field(entry.value, fields[entry.key])
        if values[entry.key] is None and len(reader.flaws) > before:
            invalid.add(entry.key)
    meant = {placed.flaw.suggestion for placed in reader.flaws if placed.flaw.at_key}
    replaced = {name for name, other in schema.instead.items() if other in values or other in meant}
    absent = [one for one in schema.fields if one.required and one.name not in values and one.name not in replaced]
    for one in absent:
        if one.name not in meant:
            _note(reader, f"{one.name} is missing", Position.of(root), expected=f"{one.name}: {one.expected}")
    return values, invalid | {one.name for one in absent}


def _note_unknown(reader: Reader, entry: Entry, schema: Schema, *, given: set[str]) -> None:
    position = Position.of(entry.key_node)
    if entry.key in schema.refused:
        message = f"{entry.key} cannot be set in {schema.tag}: it {schema.refused[entry.key]}; remove this line"
        _note(reader, message, position)
        return
    message = f"unknown field {show(entry.key)} in {schema.tag}"
    meant = suggest(entry.key, schema.by_name)
    expected = "" if meant else f"one of {', '.join(one.name for one in schema.fields if one.name not in given)}"
    if meant in given:
        message, meant = f"{message}; {meant} is already set", ""
    flaw = Flaw(message=message, expected=expected, suggestion=meant, at_key=True)
    reader.flaws.append(PlacedFlaw(flaw, position))


def _resolve(field_: Field, value: Any, folder: Path) -> Any:
    """Make a path absolute, relative to the file's folder and with ``~`` expanded; other values are unchanged."""
    if isinstance(value, dict) and field_.options:
        options = {one.name: one for one in field_.options}
        return {name: _resolve(options[name], one, folder) if name in options else one for name, one in value.items()}
    if field_.kind is Kind.PACKAGES and isinstance(value, list):
        return [_make_absolute(one, folder) if is_local(one) else one for one in value]
    if field_.kind is not Kind.PATH or not isinstance(value, str) or not value.strip() or "-----BEGIN" in value:
        return value
    return _make_absolute(value, folder)


def _make_absolute(value: str, folder: Path) -> str:
    try:
        path = Path(value).expanduser()
    except RuntimeError:  # unknown user; the field's rule reports it
        return value
    return str(folder / path)


def _find_position(reader: Reader, flaw: Flaw) -> Position:
    """Return the position of a flaw's value or key, or of the nearest value that contains it."""
    positions = reader.key_positions if flaw.at_key else reader.positions
    for length in range(len(flaw.path), 0, -1):
        if flaw.path[:length] in positions:
            return positions[flaw.path[:length]]
    return reader.positions.get(flaw.path[:1], Position(1, 1))


def _describe(root: yaml.Node) -> tuple[str, str]:
    """Describe a root node that is not a mapping, and what is expected."""
    expected = "fields as name: value, one per line"
    if isinstance(root, yaml.SequenceNode):
        return "a list", expected
    words = str(root.value).split()
    if not words:
        return "nothing", expected
    name, colon, value = words[0].partition(":")
    if colon and value:
        expected = f"a space after the colon: {show(f'{name}: {value}')[1:-1]}"
    return f"the text {show(words[0])}", expected


def _note(reader: Reader, message: str, position: Position, *, expected: str = "") -> None:
    reader.flaws.append(PlacedFlaw(Flaw(message=message, expected=expected), position))


def _as_problems(flaws: list[PlacedFlaw], *, file: str) -> list[Problem]:
    """Convert flaws to problems, in the order of their positions."""
    ordered = sorted(flaws, key=lambda one: one.position)
    return [as_problem(one.flaw, file=file, line=one.position.line, column=one.position.column) for one in ordered]
