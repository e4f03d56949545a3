"""An experiment's extensions and resources: found, fetched and measured on this machine."""

from flambe_ansible.sources.checkout import Wheel, build_wheel
from flambe_ansible.sources.declared import Declared
from flambe_ansible.sources.extensions import Extension, ExtensionKind, fetch_extensions
from flambe_ansible.sources.installed import rebuild_wheel
from flambe_ansible.sources.requirements import Requirements, read_requirements
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
