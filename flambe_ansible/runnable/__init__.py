"""Runnables: their YAML files, and the base classes for custom runnables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambe_ansible import lazy

if TYPE_CHECKING:
    from flambe_ansible.runnable.document import RunnableFile, read
    from flambe_ansible.runnable.environment import RemoteEnvironment
    from flambe_ansible.runnable.loading import load, make
    from flambe_ansible.runnable.runnable import ClusterRunnable, Runnable

__all__ = ["ClusterRunnable", "RemoteEnvironment", "Runnable", "RunnableFile", "load", "make", "read"]

__getattr__ = lazy.attach(
    __name__,
    {
        "RunnableFile": "document",
        "read": "document",
        "RemoteEnvironment": "environment",
        "load": "loading",
        "make": "loading",
        "ClusterRunnable": "runnable",
        "Runnable": "runnable",
    },
)
