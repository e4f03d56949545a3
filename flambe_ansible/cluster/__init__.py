"""Clusters: what is the same for all in ``base``, one module a provider beside it.

The classes are imported at their first use, so that nothing here costs boto3 before it is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambe_ansible.cluster.aws import AWSCluster
    from flambe_ansible.cluster.base import Cluster
    from flambe_ansible.cluster.lab import LabCluster
    from flambe_ansible.cluster.ssh import SSHCluster

__all__ = ["AWSCluster", "Cluster", "LabCluster", "SSHCluster"]

_MODULES = {"AWSCluster": "aws", "Cluster": "base", "LabCluster": "lab", "SSHCluster": "ssh"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
