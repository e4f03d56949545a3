"""Which class stands behind which tag; the classes are imported only when a cluster is made."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flambe_ansible.config import extension
from flambe_ansible.config.extension import ExtensionError
from flambe_ansible.errors import ClusterConfigurationError, FlambeAnsibleError
from flambe_ansible.validation import AWS_CLUSTER, LAB_CLUSTER, SSH_CLUSTER, Flaw, Schema
from flambe_ansible.validation.schema import show, suggest

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

_STANDARD = "tag:yaml.org,2002:"
SCHEMAS = {schema.tag: schema for schema in (AWS_CLUSTER, SSH_CLUSTER, LAB_CLUSTER)}
CLASSES = {
    AWS_CLUSTER.tag: ("flambe_ansible.cluster.aws", "AWSCluster"),
    SSH_CLUSTER.tag: ("flambe_ansible.cluster.ssh", "SSHCluster"),
    LAB_CLUSTER.tag: ("flambe_ansible.cluster.lab", "LabCluster"),
}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What stands behind a tag.

    Attributes:
        schema: Its fields; None where the tag is wrong.
        kind: The class, if it is an extension's; None for those of this package.
        flaw: What is wrong, or None.
        extension: The extension that the flaw is about; "" where it is about the tag.
    """

    schema: Schema | None = None
    kind: type | None = None
    flaw: Flaw | None = None
    extension: str = ""


def list_tags() -> str:
    """List the tags that a cluster's file can begin with, in words."""
    *first, last = SCHEMAS
    return f"{', '.join(first)} or {last}"


def find_provider(tag: str, extensions: Mapping[str, str], *, folder: Path) -> Provider:
    """Find what stands behind a tag; an extension that it names is imported.

    Args:
        tag: The tag.
        extensions: The declared extensions, module name to location.
        folder: Where relative paths start.
    """
    if tag in SCHEMAS:
        return Provider(schema=SCHEMAS[tag])
    package, dot, _ = tag.removeprefix("!").partition(".")
    if not (tag.startswith("!") and dot and package in extensions):
        return Provider(flaw=_describe_unknown(tag, extensions))
    try:
        kind = extension.find_class(tag, extensions, folder=folder)
    except ExtensionError as error:
        flaw = Flaw(message=error.message, expected=error.expected, suggestion=error.suggestion)
        return Provider(flaw=flaw, extension=error.extension)
    return Provider(schema=extension.describe_class(tag, kind), kind=kind)


def show_tag(tag: str) -> str:
    """Write a tag as it stands in a file."""
    return show(tag.replace(_STANDARD, "!!")).strip('"')


def construct(tag: str, values: Mapping[str, Any], *, kind: type | None = None) -> Cluster:
    """Make the cluster behind a tag, and have it check itself.

    Raises:
        ClusterConfigurationError: It cannot be.
    """
    if kind is None:
        module, name = CLASSES[tag]
        cluster = cast("Cluster", getattr(importlib.import_module(module), name)(**values))
        cluster.parse()
        return cluster
    try:
        cluster = cast("Cluster", kind(**values))
        cluster.parse()
    except FlambeAnsibleError:
        raise
    except Exception as error:
        raise ClusterConfigurationError(extension.describe_failure(tag, error, kind)) from error
    return cluster


def _describe_unknown(tag: str, extensions: Mapping[str, str]) -> Flaw:
    """Say what is wrong with a tag that nothing stands behind."""
    if tag.startswith(_STANDARD) and tag.removeprefix(_STANDARD) in ("map", "seq", "str", "int", "float", "bool"):
        return Flaw(message="a cluster's tag is missing here", expected=f"{list_tags()}, then its fields")
    package, dot, name = tag.removeprefix("!").partition(".")
    if dot and package.isidentifier():
        meant = f"!{name}" if f"!{name}" in SCHEMAS else ""
        near = suggest(package, extensions)
        meant = meant or (f"!{near}.{name}" if near else "")
        message = f"{show_tag(tag)} is a cluster of an extension, and no extension {package} is declared before it"
        expected = f"a document before it that says where the extension is, `{package}: PATH`; or {list_tags()}"
        return Flaw(message=message, expected=expected, suggestion=meant)
    return Flaw(message=f"{show_tag(tag)} is no cluster", expected=list_tags(), suggestion=suggest(tag, SCHEMAS))
