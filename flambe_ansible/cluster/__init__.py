"""The public cluster classes; flambé's API.

The classes are imported at their first use, so that boto3 is imported only if it is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flambe_ansible import errors

if TYPE_CHECKING:
    from flambe_ansible.cluster.aws import AWSCluster
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.cluster.lab import LabCluster
    from flambe_ansible.cluster.ssh import SSHCluster

__all__ = ["AWSCluster", "Cluster", "LabCluster", "SSHCluster", "errors"]

_MODULES = {"AWSCluster": "aws", "Cluster": "cluster", "LabCluster": "lab", "SSHCluster": "ssh"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
