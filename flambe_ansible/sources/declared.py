"""The extensions and resources that a runnable's file declares."""

from __future__ import annotations

from dataclasses import dataclass, field

from flambe_ansible.errors import SourceLocation


@dataclass(frozen=True, kw_only=True)
class Declared:
    """An extension or a resource of the file."""

    name: str  # an extension's module name, or a resource's name
    value: str = field(repr=False)  # as written; a URL may contain a password
    location: SourceLocation
    cluster: bool = False  # ``!cluster``: a resource that is already on the hosts
