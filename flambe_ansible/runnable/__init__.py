"""Runnables: their YAML files, and the base classes for custom runnables."""

from flambe_ansible.runnable.document import RunnableFile, read
from flambe_ansible.runnable.environment import RemoteEnvironment
from flambe_ansible.runnable.loading import load, make
from flambe_ansible.runnable.runnable import ClusterRunnable, Runnable

__all__ = ["ClusterRunnable", "RemoteEnvironment", "Runnable", "RunnableFile", "load", "make", "read"]
