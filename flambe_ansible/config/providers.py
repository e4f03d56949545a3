"""Which class stands behind which tag; the classes are imported only when a cluster is made."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from flambe_ansible.validation import AWS_CLUSTER, LAB_CLUSTER, Flaw, Schema
from flambe_ansible.validation.schema import show, suggest

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster

_STANDARD = "tag:yaml.org,2002:"
SCHEMAS = {schema.tag: schema for schema in (AWS_CLUSTER, LAB_CLUSTER)}
CLASSES = {
    AWS_CLUSTER.tag: ("flambe_ansible.cluster.aws", "AWSCluster"),
    LAB_CLUSTER.tag: ("flambe_ansible.cluster.lab", "LabCluster"),
}


def list_tags() -> str:
    """List the tags that a cluster's file can begin with, in words."""
    return " or ".join(SCHEMAS)


def find_schema(tag: str) -> Schema | None:
    """Find the fields of the class behind a tag; None where the tag is not known."""
    return SCHEMAS.get(tag)


def find_problem(tag: str, extensions: Mapping[str, str]) -> Flaw | None:
    """Say what is wrong with a cluster's tag, or None."""
    if tag in SCHEMAS:
        return None
    if tag.startswith(_STANDARD) and tag.removeprefix(_STANDARD) in ("map", "seq", "str", "int", "float", "bool"):
        return Flaw(message="a cluster's tag is missing here", expected=f"{list_tags()}, then its fields")
    package, dot, name = tag.removeprefix("!").partition(".")
    if dot and package.isidentifier():
        wanted = "" if package in extensions else f"; no extension {package} is declared before it"
        meant = f"!{name}" if f"!{name}" in SCHEMAS else ""
        message = f"{show_tag(tag)} is a cluster of an extension, which this version does not load{wanted}"
        return Flaw(message=message, expected=list_tags(), suggestion=meant)
    return Flaw(message=f"{show_tag(tag)} is no cluster", expected=list_tags(), suggestion=suggest(tag, SCHEMAS))


def show_tag(tag: str) -> str:
    """Write a tag as it stands in a file."""
    return show(tag.replace(_STANDARD, "!!")).strip('"')


def construct(tag: str, values: Mapping[str, Any]) -> Cluster:
    """Make the cluster behind a tag."""
    module, name = CLASSES[tag]
    kind = getattr(importlib.import_module(module), name)
    return cast("Cluster", kind(**values))
