"""A cluster's file to a checked document, and a document to a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flambe_ansible.config import providers
from flambe_ansible.config.document import Place, compose, decode, read_text
from flambe_ansible.config.reading import Entry, PlacedFlaw, Reader
from flambe_ansible.config.scalars import STANDARD
from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.validation import Field, Flaw, Kind, Schema, find_flaws
from flambe_ansible.validation.check import as_problem, normalize
from flambe_ansible.validation.schema import format_path, show, suggest

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster


@dataclass(frozen=True, kw_only=True)
class ClusterDocument:
    """What a cluster's file says, checked, before a cluster is made of it.

    Attributes:
        file: The file, as the user named it.
        tag: The cluster's tag, such as ``!AWSCluster``.
        values: The fields that were given; paths are absolute.
        positions: Where each value stands, by field (``name``, ``tags.company``, ``setup_cmds[0]``).
        place: Where the cluster begins.
        extensions: The first document, if there are two: package names to where they come from.
        kind: The class behind the tag, if it is an extension's own.
    """

    file: str
    tag: str
    values: Mapping[str, Any]
    positions: Mapping[str, Place]
    place: Place
    extensions: Mapping[str, str] = field(default_factory=dict)
    kind: type | None = None

    def locate(self, problem: Problem) -> Problem:
        """Place a problem at the field that it names, or where the cluster begins."""
        name = problem.field
        place = self.positions.get(name) or self.positions.get(name.split(".")[0].split("[")[0]) or self.place
        return replace(problem, file=self.file, line=place.line, column=place.column)


def load_cluster(path: str | Path) -> Cluster:
    """Make the cluster that a YAML file describes; nothing is created anywhere.

    Args:
        path: The file.

    Returns:
        The cluster: an ``AWSCluster``, an ``SSHCluster``, a ``LabCluster``, or an extension's own.

    Raises:
        ClusterConfigurationError: With all problems of the file, each with its place.
    """
    document = read_cluster(path)
    try:
        return providers.construct(document.tag, document.values, kind=document.kind)
    except ClusterConfigurationError as error:
        problems = error.problems or [Problem(file="", line=0, column=0, message=error.message)]
        raise ClusterConfigurationError.of([document.locate(one) for one in problems]) from error


def read_cluster(path: str | Path) -> ClusterDocument:
    """Read and check a cluster's YAML file without making a cluster of it.

    Args:
        path: The file; relative paths in it are taken from its own folder.

    Raises:
        ClusterConfigurationError: With all problems of the file, each with its place.
    """
    return read_cluster_text(
        read_text(Path(path), shown=str(path)), file=str(path), folder=Path(path).absolute().parent
    )


def read_cluster_text(text: str | bytes, *, file: str, folder: Path) -> ClusterDocument:
    """Read and check a cluster's YAML text.

    Args:
        text: The YAML, or the bytes of it.
        file: What to call it in messages.
        folder: Where relative paths in it start.
    """
    text = decode(text, shown=file) if isinstance(text, bytes) else text
    nodes = compose(text, shown=file)
    reader = Reader()
    extensions = _read_extensions(nodes, reader)
    tag, values, place, kind = "", {}, Place(1, 1), None
    if nodes:
        root = nodes[0] if extensions is None else nodes[1]
        tag, place = root.tag, Place.of(root)
        provider = _find_provider(root, reader, folder=folder, extensions=extensions or {})
        values, kind = _read_root(root, reader, folder=folder, provider=provider), provider.kind
    else:
        _note(reader, "the file is empty", place, expected=f"{providers.list_tags()}, then its fields")
    if reader.flaws:
        raise ClusterConfigurationError.of(_as_problems(reader.flaws, file=file))
    positions = {format_path(path): where for path, where in reader.places.items()}
    return ClusterDocument(
        file=file, tag=tag, values=values, positions=positions, place=place, extensions=extensions or {}, kind=kind
    )


def _read_extensions(nodes: list[yaml.Node], reader: Reader) -> dict[str, str] | None:
    """Read the extensions document if there is one; more documents than these two are a flaw."""
    first = nodes[0] if nodes else None
    if len(nodes) < 2 or first is None:
        return None
    is_extensions = isinstance(first, yaml.MappingNode) and first.tag == f"{STANDARD}map"
    surplus = nodes[2 if is_extensions else 1] if len(nodes) > (2 if is_extensions else 1) else None
    if surplus is not None:
        expected = "one cluster in a file; only a document of extensions may stand before it"
        _note(reader, "another document begins here", Place.of(surplus), expected=expected)
    if not isinstance(first, yaml.MappingNode) or not is_extensions:
        return None
    for entry in reader.read_entries(first):
        reader.places[(entry.key,)] = Place.of(entry.value)
        if not isinstance(entry.value, yaml.ScalarNode) or entry.value.tag != f"{STANDARD}str":
            expected = "a folder, a git URL or a requirement, as text"
            reader.note("is no extension's place", entry.value, (entry.key,), expected=expected)
    return {str(key.value): str(value.value) for key, value in first.value}


def _find_provider(
    root: yaml.Node, reader: Reader, *, folder: Path, extensions: Mapping[str, str]
) -> providers.Provider:
    """Find what stands behind the tag; what is wrong with it is noted where it stands."""
    if _is_experiment(root):
        message, expected = f"{providers.show_tag(root.tag)} is an experiment, no cluster", providers.list_tags()
        provider = providers.Provider(flaw=Flaw(message=message, expected=expected))
    else:
        provider = providers.find_provider(root.tag, extensions, folder=folder)
    if provider.flaw:
        flaw = provider.flaw
        place = reader.places.get((provider.extension,), Place.of(root))
        _note(reader, flaw.message, place, expected=flaw.expected, suggestion=flaw.suggestion)
    return provider


def _is_experiment(root: yaml.Node) -> bool:
    """Tell whether an experiment was given in the place of a cluster; its extension need not be imported for that."""
    if root.tag in providers.SCHEMAS or not isinstance(root, yaml.MappingNode):
        return False
    return any(isinstance(key, yaml.ScalarNode) and key.value == "pipeline" for key, _ in root.value)


def _read_root(root: yaml.Node, reader: Reader, *, folder: Path, provider: providers.Provider) -> dict[str, Any]:
    """Check the cluster's own node against the schema that its tag names."""
    schema = provider.schema
    if not isinstance(root, yaml.MappingNode):
        if not provider.flaw:
            message, expected = _describe(root)
            _note(reader, f"after {root.tag} comes {message}", Place.of(root), expected=expected)
        return {}
    if schema is None:
        return {}
    values, invalid = _read_fields(root, reader, schema)
    values = {name: _resolve(schema.by_name[name], value, folder) for name, value in values.items()}
    for flaw in find_flaws(schema, values, invalid=invalid):
        reader.flaws.append(PlacedFlaw(flaw, _find_place(reader, flaw)))
    return {} if reader.flaws else {name: normalize(schema.by_name[name], value) for name, value in values.items()}


def _read_fields(root: yaml.MappingNode, reader: Reader, schema: Schema) -> tuple[dict[str, Any], set[str]]:
    """Read all fields, note unknown and missing ones; returns the values, and the names whose value is of no use."""
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
    missing = [one for one in schema.fields if one.required and one.name not in values and one.name not in meant]
    for one in missing:
        _note(reader, f"{one.name} is missing", Place.of(root), expected=f"{one.name}: {one.expected}")
    return values, invalid | {one.name for one in schema.fields if one.required and one.name not in values}


def _note_unknown(reader: Reader, entry: Entry, schema: Schema, *, given: set[str]) -> None:
    place = Place.of(entry.key_node)
    if entry.key in schema.refused:
        message = f"{entry.key} is no field of {schema.tag}: it {schema.refused[entry.key]}; remove this line"
        _note(reader, message, place)
        return
    message = f"{show(entry.key)} is no field of {schema.tag}"
    meant = suggest(entry.key, schema.by_name)
    expected = "" if meant else f"one of {', '.join(one.name for one in schema.fields if one.name not in given)}"
    if meant in given:
        message, meant = f"{message}, and {meant} is given already", ""
    flaw = Flaw(message=message, expected=expected, suggestion=meant, at_key=True)
    reader.flaws.append(PlacedFlaw(flaw, place))


def _resolve(field_: Field, value: Any, folder: Path) -> Any:
    """Make a path absolute: from the file's own folder, ``~`` expanded; what is no path stays as it is."""
    if field_.kind is not Kind.PATH or not isinstance(value, str) or not value.strip() or "-----BEGIN" in value:
        return value
    try:
        path = Path(value).expanduser()
    except RuntimeError:  # a user that does not exist; the rule says so
        return value
    return str(folder / path)


def _find_place(reader: Reader, flaw: Flaw) -> Place:
    """Find where a flaw's value (or key) stands, or what holds it."""
    places = reader.key_places if flaw.at_key else reader.places
    for length in range(len(flaw.path), 0, -1):
        if flaw.path[:length] in places:
            return places[flaw.path[:length]]
    return reader.places.get(flaw.path[:1], Place(1, 1))


def _describe(root: yaml.Node) -> tuple[str, str]:
    """Say what stands in place of a cluster's fields, and what would be right."""
    expected = "fields, each as name: value"
    if isinstance(root, yaml.SequenceNode):
        return "a list", expected
    words = str(root.value).split()
    if not words:
        return "nothing", expected
    name, colon, value = words[0].partition(":")
    if colon and value:
        expected = f"a space after the colon: {show(f'{name}: {value}')[1:-1]}"
    return f"the text {show(words[0])}", expected


def _note(reader: Reader, message: str, place: Place, *, expected: str = "", suggestion: str = "") -> None:
    reader.flaws.append(PlacedFlaw(Flaw(message=message, expected=expected, suggestion=suggestion), place))


def _as_problems(flaws: list[PlacedFlaw], *, file: str) -> list[Problem]:
    """Write all flaws as problems, in the order of their places."""
    ordered = sorted(flaws, key=lambda one: one.place)
    return [as_problem(one.flaw, file=file, line=one.place.line, column=one.place.column) for one in ordered]
