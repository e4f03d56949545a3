"""Providers: where the hosts of a cluster come from.

To add one, write a module with a class of the ``Provider`` protocol, and the cluster class that uses it.
"""

from flambe_ansible.providers.base import Provider

__all__ = ["Provider"]
