"""The kinds of clusters: which fields belong to which YAML tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.config import extension
from flambe_ansible.config.extension import ExtensionError
from flambe_ansible.validation import AWS_CLUSTER, LAB_CLUSTER, SSH_CLUSTER, Flaw, Schema
from flambe_ansible.validation.schema import show, suggest

_STANDARD = "tag:yaml.org,2002:"
SCHEMAS = {schema.tag: schema for schema in (AWS_CLUSTER, SSH_CLUSTER, LAB_CLUSTER)}


@dataclass(frozen=True, kw_only=True)
class ClusterKind:
    """The kind of cluster that a tag names."""

    schema: Schema | None = None  # None if the tag is wrong
    extension_class: type | None = None  # None for the package's own clusters
    flaw: Flaw | None = None  # what is wrong with the tag or its extension
    flawed_extension: str = ""  # the extension that ``flaw`` is about; "" if it is about the tag


def list_tags() -> str:
    """List the package's own tags as text: ``!A, !B or !C``."""
    *first, last = SCHEMAS
    return f"{', '.join(first)} or {last}"


def find_kind(tag: str, extensions: Mapping[str, str], *, folder: Path, base: type) -> ClusterKind:
    """Find the kind of cluster for a tag. The extension of a custom tag is imported."""
    if tag in SCHEMAS:
        return ClusterKind(schema=SCHEMAS[tag])
    package, dot, _ = tag.removeprefix("!").partition(".")
    if not (tag.startswith("!") and dot and package in extensions):
        return ClusterKind(flaw=_describe_unknown(tag, extensions))
    try:
        found = extension.find_class(tag, extensions, folder=folder, base=base)
    except ExtensionError as error:
        flaw = Flaw(message=error.message, expected=error.expected, suggestion=error.suggestion)
        return ClusterKind(flaw=flaw, flawed_extension=error.extension)
    return ClusterKind(schema=extension.describe_class(tag, found), extension_class=found)


def show_tag(tag: str) -> str:
    """Return a tag as it is written in a file."""
    return show(tag.replace(_STANDARD, "!!")).strip('"')


def _describe_unknown(tag: str, extensions: Mapping[str, str]) -> Flaw:
    if tag.startswith(_STANDARD) and tag.removeprefix(_STANDARD) in ("map", "seq", "str", "int", "float", "bool"):
        return Flaw(message="the cluster's tag is missing", expected=f"{list_tags()}, followed by its fields")
    package, dot, name = tag.removeprefix("!").partition(".")
    if dot and package.isidentifier():
        near = suggest(package, extensions)
        meant = f"!{name}" if f"!{name}" in SCHEMAS else f"!{near}.{name}" if near else ""
        message = f"{show_tag(tag)} belongs to the extension {package}, which the file does not declare"
        expected = f"a first document with `{package}: PATH`, or one of the tags {list_tags()}"
        return Flaw(message=message, expected=expected, suggestion=meant)
    return Flaw(message=f"unknown cluster tag {show_tag(tag)}", expected=list_tags(), suggestion=suggest(tag, SCHEMAS))
