"""Runtimes: what the hosts of a cluster get installed, and how jobs run under it.

To add one, write a module with a class of the ``Runtime`` protocol and add it to ``make_runtime``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flambe_ansible.runtimes.base import CommandRunner, JobRunner, Runtime, RuntimeVersion
from flambe_ansible.runtimes.flambe import FlambeRuntime
from flambe_ansible.runtimes.plain import PlainRuntime
from flambe_ansible.runtimes.ray import NodeOptions, RayRuntime

__all__ = ["ROLES", "CommandRunner", "JobRunner", "NodeOptions", "Runtime", "RuntimeVersion", "make_runtime"]

# The roles that are played for some runtimes only.
ROLES = frozenset(role for runtime in (FlambeRuntime, PlainRuntime, RayRuntime) for role in runtime.roles)


def make_runtime(
    runtime: str | Mapping[str, Any],
    *,
    flambe_version: str | None = None,
    flambe_source: str | None = None,
    nodes: NodeOptions | None = None,
) -> Runtime:
    """Return the runtime that a configuration names.

    Args:
        runtime: The field ``runtime``; one of ``RUNTIMES`` of ``validation.runtime_fields``, or a mapping with
            the options of Ray.
        flambe_version: The release of flambe, or None.
        flambe_source: The path of a checkout of flambe, or None.
        nodes: The resources and labels of Ray's nodes, for ``ray``.
    """
    if not isinstance(runtime, str):
        return RayRuntime(runtime, nodes)
    runtimes: dict[str, Callable[[], Runtime]] = {
        "flambe": lambda: FlambeRuntime(flambe_version, flambe_source),
        "none": PlainRuntime,
        "ray": lambda: RayRuntime(nodes=nodes),
    }
    return runtimes[runtime]()
