"""An experiment's extensions and resources: found, fetched and measured on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambe_ansible import lazy

if TYPE_CHECKING:
    from flambe_ansible.sources.checkout import Wheel, build_wheel
    from flambe_ansible.sources.declared import Declared
    from flambe_ansible.sources.extensions import Extension, ExtensionKind, fetch_extensions
    from flambe_ansible.sources.installed import rebuild_wheel
    from flambe_ansible.sources.packages import Requirements
    from flambe_ansible.sources.requirements import read_requirements
    from flambe_ansible.sources.resources import Resource, ResourceKind, fetch_resources

__all__ = [
    "Declared",
    "Extension",
    "ExtensionKind",
    "Requirements",
    "Resource",
    "ResourceKind",
    "Wheel",
    "build_wheel",
    "fetch_extensions",
    "fetch_resources",
    "read_requirements",
    "rebuild_wheel",
]

__getattr__ = lazy.attach(
    __name__,
    {
        "Wheel": "checkout",
        "build_wheel": "checkout",
        "Declared": "declared",
        "Extension": "extensions",
        "ExtensionKind": "extensions",
        "fetch_extensions": "extensions",
        "rebuild_wheel": "installed",
        "Requirements": "packages",
        "read_requirements": "requirements",
        "Resource": "resources",
        "ResourceKind": "resources",
        "fetch_resources": "resources",
    },
)
