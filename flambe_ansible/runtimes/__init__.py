"""Runtimes: what the hosts of a cluster get installed, and how jobs run under it.

To add one, write a module with a class of the ``Runtime`` protocol and add it to ``make_runtime``.
"""

from __future__ import annotations

from collections.abc import Callable

from flambe_ansible.runtimes.base import JobRunner, Runtime, RuntimeVersion
from flambe_ansible.runtimes.flambe import FlambeRuntime
from flambe_ansible.runtimes.plain import PlainRuntime

__all__ = ["JobRunner", "Runtime", "RuntimeVersion", "make_runtime"]


def make_runtime(name: str, *, flambe_version: str | None = None, flambe_source: str | None = None) -> Runtime:
    """Return the runtime that a configuration names.

    Args:
        name: The field ``runtime``; one of ``validation.fields.RUNTIMES``.
        flambe_version: The release of flambe, or None.
        flambe_source: The path of a checkout of flambe, or None.
    """
    runtimes: dict[str, Callable[[], Runtime]] = {
        "flambe": lambda: FlambeRuntime(flambe_version, flambe_source),
        "none": PlainRuntime,
    }
    return runtimes[name]()
