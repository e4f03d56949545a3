"""Runnables: the files that describe them, and the classes that users derive theirs from."""

from flambe_ansible.runnable.document import RunnableFile, read
from flambe_ansible.runnable.environment import RemoteEnvironment
from flambe_ansible.runnable.loading import load, make
from flambe_ansible.runnable.runnable import ClusterRunnable, Runnable

__all__ = ["ClusterRunnable", "RemoteEnvironment", "Runnable", "RunnableFile", "load", "make", "read"]
