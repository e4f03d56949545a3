"""The extensions and resources that a runnable's file declares."""

from __future__ import annotations

from dataclasses import dataclass, field

from flambe_ansible.errors import SourceLocation


@dataclass(frozen=True, kw_only=True)
class Declared:
    """An extension or a resource of the file.

    Attributes:
        name: The extension's module name, or the resource's name.
        value: The path, URL or requirement, as written; not in the repr, because a URL may contain a password.
        location: The location of the value.
        cluster: Whether a resource is already on the hosts (``!cluster``).
    """

    name: str
    value: str = field(repr=False)
    location: SourceLocation
    cluster: bool = False
